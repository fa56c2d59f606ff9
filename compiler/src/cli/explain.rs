//! `sqc explain`.

use super::{Bar, args, print};
use sqc::diag::Result;
use sqc::progress::Progress;
use sqc::{driver, explain};

/// Shows for every layer the kernels that could compute it, what each would cost, and why one was chosen.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: args::Model,
    /// What to compile for; `sqc targets` lists them.
    #[arg(long, value_name = "NAME")]
    target: String,
    #[command(flatten)]
    plan: args::Plan,
    /// Builds every kernel of every layer and measures it: instructions in emulators, time on this machine.
    #[arg(long)]
    measure: bool,
    /// Language of the generated code.
    #[arg(long, value_enum, value_name = "LANG", default_value = "rust")]
    lang: args::Lang,
    /// Prints the rankings as JSON.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, bar: &Bar) -> Result<()> {
    bar.begin("read", 1);
    let model = driver::read(&args.model.path, args.model.expect())?;
    let options = args.plan.options(args.lang.into());
    let compiled = driver::compile(model, &args.target, &options, bar, &mut |_, _, _| ())?;
    let mut explanation = explain::explain(&compiled, &options);
    if args.measure {
        explain::measure(&mut explanation, &compiled, &options, bar)?;
    }
    print(&explanation, args.json, bar)
}
