//! Findings as text for people and as JSON for programs. Nothing else in the compiler prints an error.

use super::Diag;
use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};
use std::fmt::Write;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const LABEL: Style = AnsiColor::Cyan.on_default().bold();
const HELP: Style = AnsiColor::Green.on_default().bold();

/// The findings as paragraphs, coloured with escape sequences (a stream of `anstream` takes them out where unwanted).
///
/// ```text
/// error[E0201]: unsupported operator
///   found: `Einsum`
///    node: mix
///    file: model.onnx
///    help: `sqc inspect` lists every unsupported node; rewrite these with supported operators
/// ```
pub fn text(findings: &[Diag]) -> String {
    let mut out = String::new();
    for (i, d) in findings.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        paragraph(&mut out, d);
    }
    out
}

/// The findings as `[{"code", "title", "found", "node", "tensor", "file", "help"}]`; what is unknown is `null`.
pub fn json(findings: &[Diag]) -> Value {
    findings
        .iter()
        .map(|d| {
            json!({
                "code": d.code.id(),
                "title": d.code.title(),
                "found": d.found,
                "node": d.node,
                "tensor": d.tensor,
                "file": d.file.as_ref().map(|p| p.display().to_string()),
                "help": help(d),
            })
        })
        .collect()
}

fn help(d: &Diag) -> &str {
    d.help.as_deref().unwrap_or(d.code.advice())
}

fn paragraph(out: &mut String, d: &Diag) {
    let (id, title) = (d.code.id(), d.code.title());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{ERROR}error[{id}]{ERROR:#}: {title}");
    let file = d.file.as_ref().map(|p| p.display().to_string());
    let lines = [
        ("found", LABEL, Some(d.found.as_str())),
        ("node", LABEL, d.node.as_deref()),
        ("tensor", LABEL, d.tensor.as_deref()),
        ("file", LABEL, file.as_deref()),
        ("help", HELP, Some(help(d))),
    ];
    for (label, style, value) in lines {
        let Some(value) = value.filter(|v| !v.is_empty()) else {
            continue;
        };
        let pad = " ".repeat(8 - label.len());
        for (i, line) in value.lines().enumerate() {
            let _ = match i {
                0 => writeln!(out, "{pad}{style}{label}:{style:#} {}", visible(line)),
                _ => writeln!(out, "{:9} {}", "", visible(line)),
            };
        }
    }
}

/// Names come from the file: control characters in them must not reach a terminal.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (escaped, plain) = if c.is_control() {
                (Some(c.escape_default()), None)
            } else {
                (None, Some(c))
            };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;

    fn plain(findings: &[Diag]) -> String {
        anstream::adapter::strip_str(&text(findings)).to_string()
    }

    #[test]
    fn a_paragraph_shows_what_is_known() {
        let d = Diag::new(Code::UnsupportedOperator, "`Einsum`")
            .node("mix")
            .file("m.onnx");
        assert_eq!(
            plain(&[d]),
            "error[E0201]: unsupported operator\n   found: `Einsum`\n    node: mix\n    file: m.onnx\n    help: `sqc inspect` \
             lists every unsupported node; rewrite these with supported operators\n"
        );
    }

    #[test]
    fn paragraphs_are_apart_and_lines_are_indented() {
        let d = Diag::new(Code::TooLarge, "one\ntwo").help("less");
        assert_eq!(
            plain(&[d.clone(), d]),
            "error[E0210]: model is too large\n   found: one\n          two\n    help: less\n\n\
             error[E0210]: model is too large\n   found: one\n          two\n    help: less\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let d = Diag::new(Code::NotFinite, "x").node("\u{1b}[2Jgone\u{7f}");
        assert!(plain(&[d]).contains("node: \\u{1b}[2Jgone\\u{7f}\n"));
    }

    #[test]
    fn json_carries_the_same() {
        let d = Diag::new(Code::NotFinite, "NaN at [0, 1]").tensor("w");
        assert_eq!(
            json(&[d]).to_string(),
            "[{\"code\":\"E0204\",\"file\":null,\"found\":\"NaN at [0, 1]\",\"help\":\"train or export again: weights and \
             constants must be finite numbers\",\"node\":null,\"tensor\":\"w\",\"title\":\"value is not finite\"}]"
        );
    }
}
