//! `sideline models`: fetches, lists and verifies models, and registers the user's own.

use std::{path::Path, process::Command as Process};

use serde_json::{Value, json};
use sideline_api::{
    Error, Failure, OrFail, Result,
    models::{ModelEntry, Models, sha256},
};
#[cfg(feature = "onnx")]
use {
    sideline_api::Device,
    sideline_detect::{DetectorSpec, decode::Decoder, labels},
    sideline_inference::Session,
};

use crate::{
    args::{AddModel, Models as Command},
    commands::print_json,
    home,
};

/// Runs `sideline models`; returns the exit code.
pub fn run(command: &Command) -> Result<u8> {
    let lookup = home::locate(Path::new("."));
    let note = lookup.rejection_note();
    let home = lookup.home.ok_or_else(|| {
        let text = "no models/models.yml in this folder or a parent folder; run this in the repository, or set \
                    SIDELINE_HOME to it";
        Error::model(if note.is_empty() { text.to_owned() } else { format!("{text}\n{note}") })
    })?;
    let mut models = Models::open(&home)?;
    match command {
        Command::Add(options) => add(options, &mut models),
        Command::Fetch { names, json } => {
            let python = [home.join(".venv/bin/python"), "python3".into()];
            let python = python.iter().find(|p| p.is_file()).unwrap_or(&python[1]);
            let mut fetch = Process::new(python);
            fetch.arg(home.join("models/convert/fetch.py")).arg("--home").arg(&home);
            if names.is_empty() {
                fetch.arg("--all");
            } else {
                fetch.args(names);
            }
            if *json {
                // Standard output is reserved for the JSON list.
                fetch.stdout(std::io::stderr());
            }
            let status = fetch.status().or_fail(Failure::Model, || {
                format!("{}: fetching models needs Python 3; run `cargo xtask setup`", python.display())
            })?;
            if *json {
                print_json(&entries_json(&models, &home, names))?;
            }
            Ok(if status.success() { 0 } else { Failure::Model.exit_code() })
        }
        Command::List { json } => {
            if *json {
                print_json(&entries_json(&models, &home, &[]))?;
                return Ok(0);
            }
            for m in models.models().iter().chain(models.clips()) {
                let state = if home.join(&m.path).is_file() { "installed" } else { "-" };
                outln!("{:<20} {state:<10} {:<12} {}", m.name, m.license, m.about);
            }
            Ok(0)
        }
        Command::Verify { json } => verify(&models, *json),
    }
}

/// Runs `sideline models verify`: compares the checksum of every file, and loads each model.
fn verify(models: &Models, json: bool) -> Result<u8> {
    let mut loader = Loader::new(models);
    let mut list = vec![];
    let mut all_ok = true;
    for model in models.models().iter().chain(models.clips()) {
        let path = models.home().join(&model.path);
        let (state, loaded) = match sha256(&path) {
            Ok(found) if found == model.sha256 => match loader.load(model, &path) {
                Some(Err(cause)) => (format!("CANNOT BE USED: {}", cause.message), Some(false)),
                loaded => ("ok".to_owned(), loaded.map(|_| true)),
            },
            Ok(_) => (format!("CHANGED: delete it, then {}", model.repair_hint()), None),
            Err(_) => (format!("missing: {}", model.repair_hint()), None),
        };
        all_ok &= state == "ok";
        if json {
            list.push(json!({"name": model.name, "path": model.path, "state": state, "loaded": loaded}));
        } else {
            outln!("{:<20} {state}", model.name);
        }
    }
    if json {
        print_json(&list)?;
    }
    if let Some(cause) = loader.unavailable {
        errln!("note: only checksums were compared, no model was loaded: {cause}");
    }
    Ok(if all_ok { 0 } else { Failure::Model.exit_code() })
}

/// Loads models as a run would, if this build and machine can.
struct Loader<'m> {
    models: &'m Models,
    /// Reason why no model can be loaded in this build or on this machine.
    unavailable: Option<String>,
}

impl<'m> Loader<'m> {
    #[cfg(feature = "onnx")]
    fn new(models: &'m Models) -> Self {
        let started = sideline_inference::environment::start(models.home());
        Self { models, unavailable: started.err().map(|error| error.message) }
    }

    #[cfg(not(feature = "onnx"))]
    fn new(models: &'m Models) -> Self {
        Self { models, unavailable: Some("this build cannot run models: build with the feature `onnx`".into()) }
    }

    /// Loads a model, and runs it once if it is a detector; `None` for a file that is not a model, or if none can be loaded.
    #[cfg(feature = "onnx")]
    fn load(&mut self, model: &ModelEntry, path: &Path) -> Option<Result<()>> {
        if self.unavailable.is_some() || path.extension().is_none_or(|ending| ending != "onnx") {
            return None;
        }
        let mut session = match Session::from_file(path, Device::Cpu, self.models.home()) {
            Ok(session) => session,
            Err(error) => return Some(Err(error)),
        };
        Some(match Decoder::from_name(&model.decoder) {
            Some(decoder) => DetectorSpec::probe(&mut session, Some(decoder), PROBE_SIZE).map(drop),
            None => Ok(()),
        })
    }

    #[cfg(not(feature = "onnx"))]
    fn load(&mut self, _: &ModelEntry, _: &Path) -> Option<Result<()>> {
        let _ = self.models;
        None
    }
}

/// Width and height of the test input of a model with a dynamic input size, pixels.
#[cfg(feature = "onnx")]
const PROBE_SIZE: usize = 640;

/// Returns the entries of models.yml as JSON, with whether each is installed; those of `names`, or all if it is empty.
fn entries_json(models: &Models, home: &Path, names: &[String]) -> Vec<Value> {
    let all = models.models().iter().chain(models.clips());
    all.filter(|m| names.is_empty() || names.contains(&m.name))
        .map(|m| {
            json!({
                "name": m.name, "about": m.about, "registry": m.registry, "package": m.package, "version": m.version, "path": m.path,
                "sha256": m.sha256, "licence": m.license, "installed": home.join(&m.path).is_file(),
            })
        })
        .collect()
}

/// Runs `sideline models add`: checks that a file is a detector with named classes, and registers it. The model is run twice:
/// the given file, and the registered copy.
#[cfg(feature = "onnx")]
fn add(options: &AddModel, models: &mut Models) -> Result<u8> {
    let file = &options.file;
    let decoder = match options.decoder.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(Decoder::from_name(name).ok_or_else(|| {
            let names = Decoder::ALL.map(Decoder::name);
            Error::config(format!("there is no decoder `{name}`{}", sideline_api::config::did_you_mean(name, names)))
        })?),
    };
    let mut session = Session::from_file(file, Device::Cpu, models.home())?;
    let spec = DetectorSpec::probe(&mut session, decoder, options.size)?;
    let names = match &options.labels {
        Some(word) => match labels::builtin(word) {
            Some(names) => names,
            None => labels::from_file(Path::new(word))?,
        },
        None => labels::from_model(&session)?.ok_or_else(|| {
            Error::config(format!(
                "{} has no names for its {} classes: give `--labels`, a file with one name per line, or `coco`, or `coco91`",
                file.display(),
                spec.class_count
            ))
        })?,
    };
    spec.check_labels(session.name(), &names)?;
    drop(session);
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = options.name.clone().or(stem).unwrap_or_default();
    let (columns, rows) = spec.input_size;
    let named: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let examples = if named.len() > 4 { format!("{}, ...", named[..4].join(", ")) } else { named.join(", ") };
    let about = format!("Detector of {} classes ({examples}), {}, {columns}x{rows}.", named.len(), spec.decoder.name());
    let home = models.home().to_owned();
    let entry = models.register(
        file,
        ModelEntry {
            name,
            about,
            license: options.license.clone().unwrap_or_else(|| "not given".into()),
            decoder: spec.decoder.name().into(),
            labels: names,
            ..ModelEntry::default()
        },
        |copy| check_copy(copy, file, &spec, options.size, &home),
    )?;
    if options.json {
        print_json(&entry)?;
    } else {
        outln!("{}: {} Registered as {}.", entry.name, entry.about, entry.path.display());
        outln!("Use it: `--set NODE.model={}`, or `MODEL: {}` in the `env:` of a `detect`.", entry.name, entry.name);
    }
    Ok(0)
}

/// Checks that the copy of a model works without other files beside the original.
#[cfg(feature = "onnx")]
fn check_copy(copy: &Path, file: &Path, spec: &DetectorSpec, size: usize, home: &Path) -> Result<()> {
    let mut session = Session::from_file(copy, Device::Cpu, home).map_err(|cause| {
        Error::model(format!(
            "{0}: the file can be loaded, but not a copy of it in another folder, so its weights are probably in separate \
             files beside it: save it as one file, `python3 -c \"import onnx; onnx.save(onnx.load('{0}'), 'one.onnx')\"`, and \
             add that; or refer to it by its path, `model: {0}` ({1})",
            file.display(),
            cause.message
        ))
    })?;
    DetectorSpec::probe(&mut session, Some(spec.decoder), size).map(drop)
}

#[cfg(not(feature = "onnx"))]
fn add(options: &AddModel, _: &mut Models) -> Result<u8> {
    let _ = (&options.decoder, &options.labels, &options.name, &options.license, options.size, options.json);
    Err(Error::config(format!(
        "{}: this build cannot run models, so it cannot check the file: build with the feature `onnx`",
        options.file.display()
    )))
}
