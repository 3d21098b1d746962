//! Recordings that a test makes without a run.

use std::path::Path;

use sideline_api::{
    Alignment, OnError, PortType, Registry, Resources, SourceId, Table, Values, WiredInput, driver::DriverOptions,
    testing::Runner,
};
use sideline_recorder::Recorder;

/// Records a table to the folder of a run, as the recorder of a flow does: the rows of each frame, at 30 frames per second.
pub fn record_table<T: Table>(run: &Path, name: &str, frames: &[Vec<T>]) {
    let source = SourceId(0);
    let input = WiredInput {
        name: name.into(),
        from: format!("test/{name}"),
        ty: PortType::table::<T>(),
        required: false,
        hold: false,
        alignment: Alignment::Source(source),
        source: Some(source),
    };
    std::fs::create_dir_all(run).unwrap();
    let resources =
        Resources { run_dir: run.into(), run: "run".into(), inputs: vec![input], ..Resources::new("recorder") };
    let factory = Registry::new().operator::<Recorder>().get("recorder").unwrap().factory();
    let options = DriverOptions { on_error: OnError::Stop, stride: 1 };
    let mut recorder = Runner::new(factory, Values::new(), resources, options).unwrap();
    frames.iter().for_each(|rows| recorder.push(name, rows).unwrap());
    recorder.end().unwrap();
    recorder.close().unwrap();
    std::fs::write(run.join("run.json"), r#"{"processes": [], "nodes": []}"#).unwrap();
}
