//! The architecture file: TOML, one table a layer. `docs/training.md` describes it for users.

use super::{Arch, Kind, Layer, Options, Window};
use crate::quant::WeightKind;
use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layers: Vec<Spanned<Raw>>,
}

/// Every key that some layer has. One flat table rather than an enum, because that keeps the line of a mistake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "type")]
    kind: String,
    outputs: Option<usize>,
    kernel: Option<usize>,
    size: Option<usize>,
    stride: Option<usize>,
    pad: Option<usize>,
    name: Option<String>,
    bias: Option<bool>,
    weights: Option<WeightKind>,
    gamma: Option<f32>,
    lambda: Option<f32>,
    body: Option<Vec<Spanned<Raw>>>,
    shortcut: Option<Vec<Spanned<Raw>>>,
}

const WEIGHT_KEYS: [&str; 5] = ["name", "bias", "weights", "gamma", "lambda"];

/// Reads the text of an architecture file.
///
/// # Errors
/// Text that is not TOML, an unknown or missing key or kind of layer: each with its line.
pub fn parse(name: &str, text: &str) -> Result<Arch> {
    let file: File = toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => anyhow!("line {}: {}", line(text, span.start), error.message()),
        None => anyhow!("{}", error.message()),
    })?;
    Ok(Arch {
        name: name.to_string(),
        layers: layers(text, file.layers)?,
    })
}

fn layers(text: &str, raw: Vec<Spanned<Raw>>) -> Result<Vec<Layer>> {
    raw.into_iter()
        .map(|layer| {
            let line = line(text, layer.span().start);
            let kind = kind(text, line, layer.into_inner())?;
            Ok(Layer { kind, line })
        })
        .collect()
}

fn kind(text: &str, line: usize, raw: Raw) -> Result<Kind> {
    let kind = raw.kind.clone();
    let here = || format!("line {line}, layer `{kind}`");
    let (needed, optional): (&[&str], &[&str]) = match &*kind {
        "conv" => (&["outputs", "kernel"], &["stride", "pad"]),
        "depthwise" => (&["kernel"], &["stride", "pad"]),
        "dense" => (&["outputs"], &[]),
        "max_pool" => (&["size"], &["stride"]),
        "average_pool" => (&[], &["size", "stride"]),
        "residual" => (&["body"], &["shortcut"]),
        "classifier" | "norm" | "activation" | "flatten" => (&[], &[]),
        _ => bail!(
            "line {line}: unknown layer `{kind}`; known are conv, depthwise, dense, classifier, norm, activation, max_pool, \
             average_pool, flatten, residual"
        ),
    };
    let has_weights = matches!(&*kind, "conv" | "depthwise" | "dense" | "classifier");
    for (key, given) in given(&raw) {
        if needed.contains(&key) && !given {
            bail!("{}: key `{key}` is missing", here());
        }
        let allowed = needed.contains(&key) || optional.contains(&key) || has_weights && WEIGHT_KEYS.contains(&key);
        if given && !allowed {
            bail!("{}: has no key `{key}`", here());
        }
    }
    if raw.stride.is_some() && raw.size.is_none() && kind == "average_pool" {
        bail!("{}: `stride` does nothing without `size`", here());
    }
    for (key, value) in [("gamma", raw.gamma), ("lambda", raw.lambda)] {
        if let Some(value) = value
            && !(value >= 0.0 && value.is_finite())
        {
            bail!("{}: {key} {value} is negative or not finite", here());
        }
    }
    if let Some(name) = &raw.name {
        // Reports and the exported file list layers as `name=value,name=value`.
        let separates = |c: char| c.is_control() || c == ',' || c == '=';
        if name.trim().is_empty() || name.contains(separates) {
            bail!(
                "{}: name {name:?} is empty or has a `,`, a `=` or a control character",
                here()
            );
        }
    }
    let numbers = [
        ("outputs", raw.outputs),
        ("kernel", raw.kernel),
        ("size", raw.size),
        ("stride", raw.stride),
    ];
    if let Some((key, _)) = numbers.into_iter().find(|(_, value)| *value == Some(0)) {
        bail!("{}: {key} is 0", here());
    }
    let window = || Window {
        kernel: raw.kernel.unwrap_or(1),
        stride: raw.stride.unwrap_or(1),
        pad: raw.pad.unwrap_or(0),
    };
    let options = Options {
        name: raw.name.clone(),
        bias: raw.bias,
        weights: raw.weights,
        gamma: raw.gamma,
        lambda: raw.lambda,
    };
    let outputs = raw.outputs.unwrap_or(1);
    Ok(match &*kind {
        "conv" => Kind::Conv {
            outputs,
            window: window(),
            options,
        },
        "depthwise" => Kind::Depthwise {
            window: window(),
            options,
        },
        "dense" => Kind::Dense { outputs, options },
        "classifier" => Kind::Classifier { options },
        "norm" => Kind::Norm,
        "activation" => Kind::Activation,
        "max_pool" => {
            let size = raw.size.unwrap_or(1);
            Kind::MaxPool {
                size,
                stride: raw.stride.unwrap_or(size),
            }
        }
        "average_pool" => Kind::AveragePool {
            size: raw.size.map(|size| (size, raw.stride.unwrap_or(size))),
        },
        "flatten" => Kind::Flatten,
        _ => Kind::Residual {
            body: layers(text, raw.body.unwrap_or_default())?,
            shortcut: layers(text, raw.shortcut.unwrap_or_default())?,
        },
    })
}

/// Every key with whether the file gives it.
fn given(raw: &Raw) -> [(&'static str, bool); 12] {
    [
        ("outputs", raw.outputs.is_some()),
        ("kernel", raw.kernel.is_some()),
        ("size", raw.size.is_some()),
        ("stride", raw.stride.is_some()),
        ("pad", raw.pad.is_some()),
        ("name", raw.name.is_some()),
        ("bias", raw.bias.is_some()),
        ("weights", raw.weights.is_some()),
        ("gamma", raw.gamma.is_some()),
        ("lambda", raw.lambda.is_some()),
        ("body", raw.body.is_some()),
        ("shortcut", raw.shortcut.is_some()),
    ]
}

/// Line of a byte, from 1.
fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse("net", text).unwrap_err().to_string()
    }

    #[test]
    fn reads_every_key() {
        let text = r#"
            layers = [
                { type = "conv", outputs = 4, kernel = 3, stride = 2, pad = 1, name = "stem", weights = "float" },
                { type = "residual", body = [
                    { type = "depthwise", kernel = 3, pad = 1, gamma = 0.5, lambda = 2.0, bias = true },
                ] },
                { type = "average_pool", size = 2, stride = 1 },
            ]
        "#;
        let arch = parse("net", text).unwrap();
        let lines: Vec<usize> = arch.layers.iter().map(|layer| layer.line).collect();
        assert_eq!(lines, [3, 4, 7]);
        let Kind::Conv {
            outputs,
            window,
            options,
        } = &arch.layers[0].kind
        else {
            panic!("{arch:?}")
        };
        assert_eq!((*outputs, window.kernel, window.stride, window.pad), (4, 3, 2, 1));
        assert_eq!(
            (options.name.as_deref(), options.weights),
            (Some("stem"), Some(WeightKind::Float))
        );
        let Kind::Residual { body, shortcut } = &arch.layers[1].kind else {
            panic!("{arch:?}")
        };
        assert!(shortcut.is_empty() && body[0].line == 5);
        let Kind::Depthwise { options, .. } = &body[0].kind else {
            panic!("{body:?}")
        };
        assert_eq!(
            (options.gamma, options.lambda, options.bias),
            (Some(0.5), Some(2.0), Some(true))
        );
        assert_eq!(arch.layers[2].kind, Kind::AveragePool { size: Some((2, 1)) });
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let one = |layer: &str| message(&format!("layers = [\n{layer}\n]"));
        assert_eq!(
            one("{ type = \"conv\", outputs = 4 }"),
            "line 2, layer `conv`: key `kernel` is missing"
        );
        assert_eq!(
            one("{ type = \"norm\", outputs = 4 }"),
            "line 2, layer `norm`: has no key `outputs`"
        );
        assert_eq!(
            one("{ type = \"dense\", outputs = 0 }"),
            "line 2, layer `dense`: outputs is 0"
        );
        assert_eq!(
            one("{ type = \"dense\", outputs = 4, gamma = -5.0 }"),
            "line 2, layer `dense`: gamma -5 is negative or not finite"
        );
        for key in ["gamma = nan", "lambda = inf", "lambda = -inf"] {
            let message = one(&format!("{{ type = \"dense\", outputs = 4, {key} }}"));
            assert!(message.ends_with("is negative or not finite"), "{message}");
        }
        for name in ["", " ", "a,b", "a=b", "a\\nb"] {
            let message = one(&format!("{{ type = \"dense\", outputs = 4, name = \"{name}\" }}"));
            assert!(message.starts_with("line 2, layer `dense`: name"), "{message}");
        }
        assert_eq!(
            one("{ type = \"average_pool\", stride = 2 }"),
            "line 2, layer `average_pool`: `stride` does nothing without `size`"
        );
        assert!(one("{ type = \"conv\", outputs = 4, kernel = 3, pad = -1 }").starts_with("line 2: "));
        assert!(one("{ type = \"pool\" }").starts_with("line 2: unknown layer `pool`; known are conv"));
        assert!(one("{ type = \"conv\", output = 4 }").starts_with("line 2: unknown field `output`"));
        assert!(one("{ type = \"conv\", kernel = \"big\" }").starts_with("line 2: invalid type: string"));
        assert!(one("{ type = \"conv\", weights = \"two\" }").starts_with("line 2: unknown variant `two`"));
        assert!(message("layers = [").starts_with("line 1: "));
        let nested = "layers = [\n{ type = \"residual\", body = [\n{ type = \"dense\" },\n] },\n]";
        assert_eq!(message(nested), "line 3, layer `dense`: key `outputs` is missing");
    }
}
