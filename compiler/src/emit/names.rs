//! Names in the generated sources.
//!
//! The crate, the C prefix and the C files carry the snake_case form of the model file's stem; constants and macros its
//! SCREAMING form, types its CamelCase form. Names inside come from the kernel IR, which names roles; one that is a word of
//! Rust or C, or is taken, gets a trailing underscore.

/// Words that mean something in Rust, in C99 or in C++, which may read the header, or that the sources rely on: one list,
/// so that both languages use the same names.
const RESERVED: &str = "abstract alignas alignof and as asm async auto await become bool box break case catch char class compl complex \
    concept const continue core crate default delete do double dyn else enum explicit export extern false final \
    float fn for friend gen goto if imaginary impl in inline int let long loop macro main match mod move mut mutable \
    namespace new noexcept not nullptr operator or override priv private protected pub public ref register requires \
    restrict return self short signed sizeof static std struct super switch template test this throw trait true try \
    type typedef typeid typename typeof union unsafe unsigned unsized use using virtual void volatile wchar_t where \
    while xor yield";

/// `text` as an identifier in snake_case, never empty: runs of other characters become one underscore, a lower-case letter
/// before a capital ends a word, a leading digit gets `n` in front, a reserved word an underscore behind.
pub fn snake(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in text.chars() {
        let new_word = c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit());
        if (new_word || !c.is_ascii_alphanumeric()) && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    let out = out.trim_end_matches('_');
    match out.chars().next() {
        None => "model".into(),
        Some(c) if c.is_ascii_digit() => format!("n{out}"),
        Some(_) => local(out),
    }
}

/// A snake_case name that is no reserved word.
pub fn local(name: &str) -> String {
    if RESERVED.split(' ').any(|w| w == name) {
        format!("{name}_")
    } else {
        name.to_string()
    }
}

/// [`snake`], with an underscore behind for as long as `taken` has it.
pub fn unique(text: &str, taken: &[&str]) -> String {
    let mut name = snake(text);
    while taken.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// `lenet5_mnist` as `LENET5_MNIST`.
pub fn screaming(snake: &str) -> String {
    snake.to_ascii_uppercase()
}

/// `lenet5_mnist` as `Lenet5Mnist`.
pub fn camel(snake: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    snake.split('_').filter(|w| !w.is_empty()).map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_file_stem_becomes_an_identifier() {
        let cases = [
            ("lenet5", "lenet5"),
            ("LeNet5-MNIST.v2", "le_net5_mnist_v2"),
            ("fc1Weights", "fc1_weights"),
            ("MNIST", "mnist"),
            ("  --Über__alles--", "ber_alles"),
            ("3layers", "n3layers"),
            ("struct", "struct_"),
            ("main", "main_"),
            ("模型", "model"),
            ("", "model"),
            ("/fc/Gemm_output_0", "fc_gemm_output_0"),
        ];
        for (text, want) in cases {
            assert_eq!(snake(text), want, "{text:?}");
        }
    }

    #[test]
    fn forms_of_a_name() {
        assert_eq!(screaming("lenet5_mnist"), "LENET5_MNIST");
        assert_eq!(camel("lenet5_mnist"), "Lenet5Mnist");
        assert_eq!(camel("struct_"), "Struct");
    }

    #[test]
    fn a_taken_name_is_set_apart() {
        assert_eq!(unique("arena", &["arena"]), "arena_");
        assert_eq!(unique("x", &["x", "x_"]), "x__");
        assert_eq!(unique("y", &["x"]), "y");
    }

    #[test]
    fn names_are_words_of_rust() {
        for text in ["type", "3", "a b", "Self", "async"] {
            syn::parse_str::<syn::Ident>(&snake(text)).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
}
