//! The kept inputs, each through its target: those worth starting from, and those once found wrong.

use std::{fs, path::Path};

use aftercall_fuzz::TARGETS;

#[test]
fn every_kept_input_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut folders: Vec<_> = fs::read_dir(&corpus)
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name), "a corpus a target, and a target a corpus");
    for (name, run) in TARGETS {
        let mut inputs = 0;
        for input in fs::read_dir(corpus.join(name)).unwrap() {
            let path = input.unwrap().path();
            println!("{}", path.display()); // The last line before a failure says whose it is.
            run(&fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has nothing to start from");
    }
}
