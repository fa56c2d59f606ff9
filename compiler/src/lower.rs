//! From a plan to a program: parameters become places in the arena, steps become calls.

use crate::ir::{Graph, Op};
use crate::kernels::{Layout, View};
use crate::kir::{Arg, BufDecl, Call, Port, Program, Role, Ty};
use crate::plan::{Place, Plan, Step};

/// The program of `plan`, whose sample and result are called by the model's names for them.
pub fn lower(g: &Graph, plan: &Plan, input: &str, output: &str) -> Program {
    let port = |is: &dyn Fn(&Op) -> bool, name: &str| {
        let node = g.node(g.find(is)[0]);
        Port {
            name: name.into(),
            ty: View::new(&node.ty, Layout::Planar).ty(),
            shape: node.ty.shape.clone(),
        }
    };
    let value = |of: usize, ty: Ty| {
        let pools = &plan.memory.pools;
        Arg::Arena {
            pool: pools.iter().position(|p| p.ty == ty).expect("a pool per type in use"),
            offset: plan.memory.offsets[of],
        }
    };
    let args = |s: &Step| {
        let (mut values, mut operands) = (s.values.iter(), s.operands.iter());
        let arg = |b: &BufDecl| match (b.role, s.result) {
            (Role::In, _) => match operands.next().expect("an operand per buffer") {
                Place::Step(made) => value(plan.steps[*made].values[0], b.ty),
                _ => Arg::Input,
            },
            (Role::Out, Place::Output) => Arg::Output,
            _ => value(*values.next().expect("a value per buffer"), b.ty),
        };
        s.kernel.params().map(arg).collect()
    };
    Program {
        input: port(&|op| *op == Op::Input, input),
        output: port(&|op| *op == Op::Output, output),
        pools: plan.memory.pools.clone(),
        kernels: plan.steps.iter().map(|s| s.kernel.clone()).collect(),
        calls: plan
            .steps
            .iter()
            .enumerate()
            .map(|(kernel, s)| Call { kernel, args: args(s) })
            .collect(),
    }
}
