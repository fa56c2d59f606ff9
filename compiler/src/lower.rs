//! From a plan to a program: parameters become places in the arena, the steps' calls follow one another.

use crate::ir::{Graph, Op};
use crate::kernels::{Layout, View};
use crate::kir::{Arg, Call, Port, Program, Ty, share_tables};
use crate::plan::{self, Place, Plan, Step};

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
    let value = |of: usize, ty: Ty, from: u32| {
        let pools = &plan.memory.pools;
        Arg::Arena {
            pool: pools.iter().position(|p| p.ty == ty).expect("a pool per type in use"),
            offset: plan.memory.offsets[of] + from,
        }
    };
    let arg = |s: &Step, arg: plan::Arg, ty: Ty| match arg {
        plan::Arg::Operand(i, from) => match s.operands[i] {
            Place::Step(made) => value(plan.steps[made].values[0], ty, from),
            _ => Arg::Input(from),
        },
        plan::Arg::Result(from) if s.result == Place::Output => Arg::Output(from),
        plan::Arg::Result(from) => value(s.values[0], ty, from),
        plan::Arg::Slot(i, from) => value(s.values[s.values.len() - s.slots.len() + i], ty, from),
    };
    let mut program = Program {
        input: port(&|op| *op == Op::Input, input),
        output: port(&|op| *op == Op::Output, output),
        pools: plan.memory.pools.clone(),
        kernels: vec![],
        calls: vec![],
    };
    for step in &plan.steps {
        let first = program.kernels.len();
        program.kernels.extend(step.kernels.iter().cloned());
        program.calls.extend(step.calls.iter().map(|c| {
            Call {
                kernel: first + c.kernel,
                args: step.kernels[c.kernel]
                    .params()
                    .zip(&c.args)
                    .map(|(b, a)| arg(step, *a, b.ty))
                    .collect(),
            }
        }));
    }
    share_tables(&mut program.kernels);
    program
}
