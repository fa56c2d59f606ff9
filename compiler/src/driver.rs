//! The pipeline.

use crate::diag::{Code, Diag, Result};
use crate::import::{self, Model};
use crate::inspect::{self, Expect};
use crate::ir::Graph;
use crate::kir::{self, Program};
use crate::lower;
use crate::passes;
use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::target::{Lang, OptLevel, Target};
use std::fmt::Display;
use std::path::Path;

/// A model on its way through the compiler: every form of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// As imported: its graph means what the file means.
    pub model: Model,
    /// The same meaning in integers and ordered `f32`.
    pub graph: Graph,
    /// Kernels and memory.
    pub plan: Plan,
    /// The code, in no language yet.
    pub program: Program,
    /// The language that its kernels were chosen for.
    pub lang: Lang,
    /// What that language's compiler is to optimise for.
    pub level: OptLevel,
    /// What it is compiled for.
    pub target: Target,
    /// The target's name.
    pub target_name: String,
    /// The same for every target that the program picks from at run time, best first; this one is for the other processors.
    pub variants: Vec<Compiled>,
}

impl Compiled {
    /// What [`Compiled::variants`] has, and this.
    pub fn all(&self) -> impl Iterator<Item = &Compiled> {
        self.variants.iter().chain([self])
    }
}

/// A form of the program that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The graph.
    Ir,
    /// Kernels and memory.
    Plan,
    /// The code.
    Kir,
}

/// Sees every form as it comes to be: which it is, the step that made it, and its text.
pub type Show<'a> = &'a mut dyn FnMut(Form, &str, &dyn Display);

/// Reads a model and holds it against what is expected of its layers.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn read(path: &Path, expect: Option<Expect>) -> Result<Model> {
    let model = import::read(path)?;
    if let Some(expect) = expect {
        inspect::check(&inspect::inspect(&model), expect, path)?;
    }
    Ok(model)
}

/// From a model to a program for `target_name`.
///
/// # Errors
/// What the passes cannot make integers of, and budgets that are exceeded.
pub fn compile(
    model: Model,
    target_name: &str,
    options: &plan::Options,
    progress: &dyn Progress,
    show: Show,
) -> Result<Compiled> {
    let target = Target::load(target_name)?;

    progress.begin("simplify", 1);
    show(Form::Ir, "import", &model.graph);
    let graph = passes::run(model.graph.clone(), &mut |pass, g| show(Form::Ir, pass, g))?;

    let mut variants = vec![];
    for name in target.dispatch.iter().flat_map(|d| &d.to) {
        let variant = Target::load(name)?;
        variants.push(lowered(
            model.clone(),
            graph.clone(),
            variant,
            name,
            options,
            progress,
            show,
        )?);
    }
    let mut compiled = lowered(model, graph, target, target_name, options, progress, show)?;
    compiled.variants = variants;
    Ok(compiled)
}

/// The rest of the way, which depends on the target.
fn lowered(
    model: Model,
    graph: Graph,
    target: Target,
    target_name: &str,
    options: &plan::Options,
    progress: &dyn Progress,
    show: Show,
) -> Result<Compiled> {
    progress.begin("plan", 1);
    let plan = plan::plan(&graph, &target, options)?;
    show(Form::Plan, "plan", &plan);

    progress.begin("lower", 1);
    let program = lower::lower(&graph, &plan, &model.input, &model.output);
    show(Form::Kir, "lower", &program);
    kir::verify::verify(&program).map_err(|e| Diag::new(Code::Internal, e))?;

    Ok(Compiled {
        model,
        graph,
        plan,
        program,
        lang: options.lang,
        level: options.optimize.level(),
        target,
        target_name: target_name.to_owned(),
        variants: vec![],
    })
}
