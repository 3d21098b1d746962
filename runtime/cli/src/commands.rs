//! The read-only commands: check, list, inspect, result.

use std::path::Path;

use serde_json::{Value, json};
use sideline_api::{
    Entry, Failure, OrFail, Registry, Result,
    config::{Key, Origin},
};
use sideline_graph::render_plan;

use crate::{
    args::{Mode, Setting},
    home, print, record, run,
};

/// Prints a value as JSON on standard output.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    outln!("{}", serde_json::to_string_pretty(value).or_fail(Failure::Output, || "standard output")?);
    Ok(())
}

/// Runs `sideline check`; returns the exit code. `python` describes the interpreter of operators in Python.
pub fn check(
    flow: &Path,
    json: bool,
    set: &[Setting],
    mode: Option<Mode>,
    registry: &Registry,
    python: Option<&str>,
) -> Result<u8> {
    let read = sideline_graph::Flow::read(flow, registry, &run::build_overrides(flow, set, mode.map(Into::into)));
    let (problems, read) = match read {
        Ok(read) => {
            let mut problems = read.diagnostics.clone();
            problems.extend(read.check_models(&home::load_models(flow)));
            (problems, Some(read))
        }
        Err(problems) => (problems, None),
    };
    let has_errors = problems.iter().any(|p| p.severity == sideline_graph::Severity::Error);
    if json {
        let list: Vec<Value> = problems
            .iter()
            .map(|p| {
                json!({
                    "severity": format!("{:?}", p.severity).to_lowercase(),
                    // JSON cannot represent a name that is not UTF-8, so it is converted lossily.
                    "file": p.place.file.as_ref().map(|file| file.to_string_lossy()), "line": p.place.line,
                    "column": p.place.column, "node": p.node, "message": p.message, "dora_only": p.dora_only,
                })
            })
            .collect();
        print_json(&list)?;
    } else {
        for problem in &problems {
            outln!("{problem}");
        }
        if let Some(read) = &read {
            print::stdout(&render_plan(read));
        }
        if let Some(python) = python {
            outln!("{python}");
        }
    }
    Ok(if has_errors { Failure::Config.exit_code() } else { 0 })
}

/// Runs `sideline list`; returns the exit code.
pub fn list(json: bool, registry: &Registry) -> Result<u8> {
    if json {
        print_json(&registry.iter().map(describe).collect::<Vec<_>>())?;
        return Ok(0);
    }
    for entry in registry.iter() {
        outln!("{:<12} {}", entry.spec.name, entry.about());
    }
    Ok(0)
}

fn describe(entry: &Entry) -> Value {
    let inputs: Vec<Value> = entry
        .spec
        .inputs
        .iter()
        .map(|port| {
            json!({"name": port.name, "type": port.ty.name(), "required": port.required, "hold": port.hold, "feedback": port.feedback})
        })
        .collect();
    let outputs: Vec<Value> =
        entry.spec.outputs.iter().map(|port| json!({"name": port.name, "type": port.ty.name()})).collect();
    let keys: Vec<Value> = entry
        .keys()
        .iter()
        .map(|key| {
            json!({
                "key": key.name, "type": key.kind.to_string(), "choices": choices(key), "default": key.default,
                "live": key.live, "range": key.range, "about": key.about,
            })
        })
        .collect();
    json!({
        "name": entry.spec.name, "about": entry.about(), "source": entry.spec.is_source, "heavy": entry.spec.is_heavy,
        "inputs": inputs, "more_inputs": entry.spec.more_inputs.map(|ty| ty.name()), "outputs": outputs, "keys": keys,
    })
}

/// Returns the words that a key accepts, one or several as a list; `None` if it accepts any value.
fn choices(key: &Key) -> Option<&'static [&'static str]> {
    Some(key.kind.choices()).filter(|words| !words.is_empty())
}

/// Runs `sideline inspect` on an operator or a flow; returns the exit code.
pub fn inspect(target: &str, json: bool, registry: &Registry) -> Result<u8> {
    let path = Path::new(target);
    if path.extension().is_none() {
        let entry = registry.get(target)?;
        if json {
            print_json(&describe(entry))?;
        } else {
            print::stdout(&describe_text(entry));
        }
        return Ok(0);
    }
    let flow = run::read_flow(path, registry, &Default::default())?;
    let mut nodes = serde_json::Map::new();
    for node in &flow.nodes {
        let mut values = serde_json::Map::new();
        for (key, value) in &node.resolved {
            let origin = node.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone());
            values.insert(key.clone(), json!({"value": value, "from": origin.to_string()}));
        }
        nodes.insert(node.id.clone(), json!({"operator": node.operator, "values": values}));
    }
    if json {
        print_json(&nodes)?;
        return Ok(0);
    }
    for (id, node) in &nodes {
        outln!("{id} ({})", node["operator"].as_str().unwrap_or_default());
        for (key, value) in node["values"].as_object().into_iter().flatten() {
            outln!("  {key} = {}  ({})", value["value"], value["from"].as_str().unwrap_or_default());
        }
    }
    Ok(0)
}

fn describe_text(entry: &Entry) -> String {
    let spec = &entry.spec;
    let mut text = format!("{}: {}\n", spec.name, entry.about());
    for port in &spec.inputs {
        let required = if port.required { "required" } else { "optional" };
        text += &format!("  input  {:<12} {} ({required})\n", port.name, port.ty.name());
    }
    if let Some(ty) = spec.more_inputs {
        text += &format!("  input  any name     {} (optional)\n", ty.name());
    }
    for port in &spec.outputs {
        text += &format!("  output {:<12} {}\n", port.name, port.ty.name());
    }
    for key in entry.keys() {
        let default = match &key.default {
            None => "required".to_owned(),
            Some(Value::Null) => "not set".to_owned(),
            Some(value) => format!("default {value}"),
        };
        let live = if key.live { ", live" } else { "" };
        let range = key.range.map_or_else(String::new, |(min, max)| format!(", {min} to {max}"));
        text += &format!("  key    {} ({}, {default}{range}{live})\n", key.name, key.kind);
        for line in key.about.lines() {
            text += &format!("           {line}\n");
        }
    }
    text
}

/// Runs `sideline result`; returns the exit code of the run.
pub fn result(folder: &Path, json: bool) -> Result<u8> {
    let merged = record::merge(folder)?;
    if json {
        print_json(&merged)?;
        return Ok(merged.exit_code());
    }
    for (process, status) in &merged.processes {
        outln!("{process:<24} {status}");
    }
    for source in &merged.sources {
        outln!(
            "{}: {} decoded = {} admitted + {} dropped",
            source["node"].as_str().unwrap_or_default(),
            source["decoded"],
            source["admitted"],
            source["forgotten"]
        );
    }
    outln!("{}", merged.describe());
    Ok(merged.exit_code())
}
