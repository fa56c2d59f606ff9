//! The table of errors. One row each: variant, code, title, advice.

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $id:literal $title:literal $help:literal;)*) => {
        /// What kind of error it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* #[doc = $title] $variant,)* }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// Stable identifier, for example `E0101`.
            pub fn id(self) -> &'static str {
                match self { $(Code::$variant => $id,)* }
            }

            /// What it is called.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Code::$variant => $help,)* }
            }
        }
    };
}

codes! {
    // E01: files.
    ReadFile "E0101" "cannot read the file" "check the path and its permissions";
    NotOnnx "E0102" "not an ONNX model" "export the model with ONNX opset 13 or later";
    WriteOutput "E0103" "cannot write the output" "choose a directory that can be written with --out";

    // E02: the model as a file format.
    UnsupportedOperator "E0201" "unsupported operator" "`sqc inspect` lists every unsupported node; rewrite these with supported operators";
    DynamicShape "E0202" "dynamic shape" "export with static shapes; only the batch dimension may be symbolic";
    ShapeMismatch "E0203" "shapes do not fit" "export the model again, or check it with the ONNX checker";
    NotFinite "E0204" "value is not finite" "train or export again: weights and constants must be finite numbers";
    MissingTensor "E0205" "tensor has no source" "check the model with the ONNX checker";
    BadInitializer "E0206" "malformed tensor" "check the model with the ONNX checker; the file may be truncated";
    BadAttribute "E0207" "attribute out of range" "check the model with the ONNX checker";
    UnsupportedType "E0208" "unsupported element type" "use float32, uint8 or int8 tensors";
    CyclicGraph "E0209" "graph is not acyclic" "check the model with the ONNX checker";
    TooLarge "E0210" "model is too large" "split or shrink the model";
    Ports "E0211" "not one input and one output" "cut the model so that one input and one output remain";

    // E03: what the passes cannot do.
    NotFused "E0301" "no exact integer form" "see the operator list in the README for the forms that compile";
    AccumulatorOverflow "E0302" "sum does not fit 32 bits" "split the layer";
    Expectation "E0303" "layer is not as expected" "train or export again, or drop --expect; `sqc inspect` shows every layer";

    // E04: plan and target.
    UnknownTarget "E0401" "unknown target" "`sqc targets` lists them";
    RamBudget "E0402" "does not fit the memory" "choose a larger device, or raise --ram";
    FlashBudget "E0403" "does not fit the flash" "choose a larger device, or raise --flash";

    // E05: data sets.
    MissingData "E0501" "cannot read the data set" "--data takes a directory with MNIST's idx files, or one idx file of images";
    BadData "E0502" "malformed data set" "download the file again";
    DataMismatch "E0503" "data set does not fit the model" "--data takes images of the size of the model's input";

    // E06: verification.
    Reference "E0601" "tract cannot run the model" "check the model with the ONNX checker; `sqc bake` writes one in plain operators";
    OutputsDiffer "E0602" "generated code differs from the reference" "please report it, with the model if you can";
    ClassesDiffer "E0603" "predictions differ from the float model" "please report it, with the model if you can";

    // E07: building and running generated code.
    MissingTool "E0701" "a tool is missing" "install it";
    BuildFailed "E0702" "generated code does not build" "please report it, with the model if you can";
    RunFailed "E0703" "generated code does not run" "see the message; on a bare board the fault is in the program or its memory map";
    BoardTooSmall "E0704" "the program does not fit the board that runs it" "give --flash and --ram no more than it has, or take smaller kernels (--optimize size)";

    // E09: the compiler itself.
    Internal "E0901" "the compiler broke one of its own rules" "please report it, with the model if you can";
}
