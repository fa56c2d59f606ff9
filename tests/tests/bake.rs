//! `sqc bake`: the file it writes means what the model means.

use sq_tests::{MODELS, committed, model};
use sqc::reference::Reference;
use sqc::{bake, data, import, package};
use std::path::Path;

/// Bakes a model and holds the file against it.
fn check(path: &Path) {
    let original = import::read(path).expect("the model is sound");
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let baked_path = dir.path().join(path.file_name().expect("a model has a name"));
    bake::bake(&original, &baked_path).expect("the directory can be written");
    let baked = import::read(&baked_path).expect("sqc reads what it writes");
    assert_eq!(
        baked.graph.to_string(),
        original.graph.to_string(),
        "{}",
        path.display()
    );
    assert_eq!((&baked.input, &baked.output), (&original.input, &original.output));
    assert_eq!(baked.metadata, original.metadata);

    let ty = package::input_ty(&original.graph);
    let samples = data::synthetic(&ty, 20);
    let scores = |path| {
        Reference::load(path, &ty, &[])
            .and_then(|r| r.run(&samples.bytes))
            .expect("tract runs it")
    };
    assert_eq!(scores(&baked_path), scores(path), "{}", path.display());
}

#[test]
fn a_baked_model_means_the_same_to_sqc_and_to_tract() {
    MODELS.iter().for_each(|m| check(&committed(m)));
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let tiny = dir.path().join("tiny.onnx");
    std::fs::write(&tiny, model::tiny().encode()).expect("a model can be written");
    check(&tiny);
}
