//! Which settings of two runs differ, by the names of the flags that set them: what a refused `--resume` says, and what tells the
//! rows of a table apart.

use crate::arch::Arch;
use crate::data::{Augment, Pixels, Source};
use crate::nn::{ActivationConfig, QuantConfig};
use crate::optim::{Decay, Optimizer, Schedule};
use crate::quant::Power;
use crate::train::Config;
use serde::Serialize;

/// A setting: the flag without its dashes, and the value as people write it; `None` where it is off or was not given.
pub type Setting = (&'static str, Option<String>);

/// The settings of a run, the same flags in the same order for every run.
pub fn of(config: &Config) -> Vec<Setting> {
    // Taken apart by name, so that a new setting cannot be forgotten here.
    let Config {
        arch,
        source,
        pixels,
        input,
        classes,
        quant,
        activations,
        lambda_ramp,
        gamma_ramp,
        epochs,
        freeze_epochs,
        batch,
        schedule,
        optimizer,
        augment,
        limit,
        seed,
    } = config;
    let Source { data, size, channels } = source;
    let QuantConfig {
        method,
        first,
        last,
        granularity,
        scale,
        power,
        epsilon,
        beta,
        lambda,
        gamma,
        decay,
    } = quant;
    let ActivationConfig { kind, range, estimator } = activations;
    let Schedule {
        rate,
        warm_up,
        decay: course,
    } = schedule;
    let (course, steps) = match course {
        Decay::Constant => ("constant", None),
        Decay::Cosine => ("cosine", None),
        Decay::Step { at, factor } => ("step", Some((format!("{at:?}"), factor.to_string()))),
    };
    let (optimizer, momentum) = match optimizer {
        Optimizer::Adam => ("adam", None),
        Optimizer::Sgd { momentum } => ("sgd", Some(momentum.to_string())),
    };
    let Augment { shift, flip } = augment;
    let shape = |[channels, rows, columns]: &[usize; 3]| format!("{channels}x{rows}x{columns}");
    vec![
        ("arch", Some(arch.name.clone())),
        ("layers", Some(fingerprint(arch))),
        ("data", Some(data.clone())),
        ("size", size.map(|[rows, columns]| format!("{rows}x{columns}"))),
        ("channels", Some(channels.to_string())),
        ("image", Some(shape(input))),
        ("classes", Some(classes.to_string())),
        ("normalise", Some(normalise(pixels).into())),
        ("method", Some(method.to_string())),
        ("first", first.as_ref().map(word)),
        ("last", last.as_ref().map(word)),
        ("granularity", Some(word(granularity))),
        ("scale", scale.as_ref().map(word)),
        ("activations", Some(kind.to_string())),
        ("range", Some(word(range))),
        ("estimator", Some(word(estimator))),
        ("epochs", Some(epochs.to_string())),
        ("freeze-epochs", Some(freeze_epochs.to_string())),
        ("batch", Some(batch.to_string())),
        ("optimizer", Some(optimizer.into())),
        ("momentum", momentum),
        ("lr", Some(rate.to_string())),
        ("warm-up", (*warm_up > 0.0).then(|| warm_up.to_string())),
        ("schedule", Some(course.into())),
        ("steps", steps.as_ref().map(|(at, _)| at.clone())),
        ("step-factor", steps.map(|(_, factor)| factor)),
        ("decay", (*decay > 0.0).then(|| decay.to_string())),
        ("lambda", Some(lambda.to_string())),
        ("lambda-ramp", Some(word(lambda_ramp))),
        ("gamma", Some(gamma.to_string())),
        ("gamma-ramp", Some(word(gamma_ramp))),
        ("beta", Some(beta.to_string())),
        ("epsilon", Some(epsilon.to_string())),
        ("power", Some(if *power == Power::One { "1" } else { "2" }.into())),
        ("shift", (*shift > 0).then(|| shift.to_string())),
        ("flip", flip.then(|| "on".into())),
        ("limit", limit.map(|limit| limit.to_string())),
        ("seed", Some(seed.to_string())),
    ]
}

/// How `now` differs from `begun`, in words: `--lr 0.001, not 0.002; --flip on, not off`.
pub fn differences(begun: &Config, now: &Config) -> String {
    let value = |value: Option<String>| value.unwrap_or("off".into());
    let parts: Vec<String> = of(begun)
        .into_iter()
        .zip(of(now))
        .filter(|(begun, now)| begun != now)
        .map(|((flag, begun), (_, now))| format!("--{flag} {}, not {}", value(begun), value(now)))
        .collect();
    match parts.is_empty() {
        // Normalisations of a kind differ in their numbers alone.
        true => "other training images to normalise by, or another version of the trainer".into(),
        false => parts.join("; "),
    }
}

/// The name that a value without fields has in files.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("?").to_string()
}

fn normalise(pixels: &Pixels) -> &'static str {
    match pixels {
        Pixels { scale, .. } if scale.len() > 1 => "channel",
        Pixels { zero, scale, .. } if zero[..] == [0] && scale[..] == [1.0 / 255.0] => "unit",
        _ => "set",
    }
}

/// Tells the layers of networks of one name apart (FNV-1a, folded to 16 bits).
fn fingerprint(arch: &Arch) -> String {
    let text = serde_json::to_string(&arch.layers).unwrap_or_default();
    let hash = text.bytes().fold(0x811c_9dc5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{:04x}", (hash >> 16) ^ (hash & 0xffff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{PLAIN, config};

    #[test]
    fn differences_are_named_by_their_flags() {
        let begun = config(PLAIN);
        let mut now = begun.clone();
        now.schedule.rate = 0.5;
        now.schedule.decay = Decay::Step {
            at: vec![0.5],
            factor: 0.1,
        };
        now.limit = Some(100);
        assert_eq!(
            differences(&begun, &now),
            "--lr 0.001, not 0.5; --schedule constant, not step; --steps off, not [0.5]; --step-factor off, not 0.1; \
             --limit off, not 100"
        );
        let mut now = begun.clone();
        now.arch.layers.pop();
        assert!(differences(&begun, &now).starts_with("--layers "));
        now = begun.clone();
        now.pixels.scale = vec![0.1, 0.2];
        assert_eq!(differences(&begun, &now), "--normalise unit, not channel");
    }
}
