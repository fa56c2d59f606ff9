//! From a plan to a program: parameters become places in the arena, steps become calls.

use crate::ir::{Graph, Op};
use crate::kernels::{Layout, View};
use crate::kir::{Arg, Call, Port, Program};
use crate::plan::{Place, Plan};

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
    let place = |p: Place| match p {
        Place::Input => Arg::Input,
        Place::Output => Arg::Output,
        Place::Step(made) => {
            let held = plan.steps[..made].iter().filter(|s| s.result != Place::Output).count();
            let ty = result_type(plan, made);
            let pool = plan
                .memory
                .pools
                .iter()
                .position(|p| p.ty == ty)
                .expect("a pool per type in use");
            Arg::Arena {
                pool,
                offset: plan.memory.offsets[held],
            }
        }
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
            .map(|(kernel, s)| Call {
                kernel,
                args: vec![place(s.operand), place(s.result)],
            })
            .collect(),
    }
}

fn result_type(plan: &Plan, step: usize) -> crate::kir::Ty {
    plan.steps[step].kernel.params().nth(1).expect("operand and result").ty
}
