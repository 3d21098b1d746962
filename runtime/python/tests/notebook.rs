//! The notebook of the documentation runs to its end.

mod support;

use std::path::Path;

use sideline_testkit::{Capability, skip_test};
use support::{Bench, finish};

/// Executes a notebook and prints the texts of its outputs.
const EXECUTE: &str = r#"
import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        print(output.get("text") or output.get("data", {}).get("text/plain"))
"#;

#[test]
fn the_notebook_on_the_fight_runs() {
    let Some(bench) = Bench::new() else { return };
    if !["nbclient", "ipykernel", "duckdb"].iter().all(|name| bench.has_package(name)) {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !["models/onnx/blazepose_lite_n.onnx", "models/clips/athletes.mp4"].iter().all(|file| root.join(file).is_file())
    {
        skip_test(Capability::Models, "models and clips are not installed; `cargo xtask setup` fetches them");
        return;
    }
    let program = bench.write("execute.py", EXECUTE);
    let mut command = bench.command(bench.interpreter());
    let outcome = finish(command.arg(program).arg(root.join("docs/notebooks/fight.ipynb")));
    assert_eq!(outcome.code, 0, "{}", outcome.text);
    for expected in ["60/60", "rows of motion", "moves", "frames"] {
        assert!(outcome.stdout.contains(expected), "{expected}: {}", outcome.text);
    }
}
