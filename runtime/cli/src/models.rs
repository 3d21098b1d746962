//! `sideline models`: what is installed, and models of one's own.

use std::{path::Path, process::Command as Process};

use serde_json::{Value, json};
use sideline_api::{
    Error, Failure, OrFail, Result,
    models::{ModelEntry, Models, sha256},
};
#[cfg(feature = "onnx")]
use {
    sideline_api::Device,
    sideline_detect::{Kind, decode::Decoder, labels},
    sideline_inference::Session,
};

use crate::{
    args::{AddModel, Models as Command},
    commands::print_json,
    house,
};

/// `sideline models`.
pub fn run(command: &Command) -> Result<u8> {
    let lookup = house::look_up(Path::new("."));
    let note = lookup.note();
    let home = lookup.home.ok_or_else(|| {
        let text = "no models/models.yml from here upwards; run in the repository, or set SIDELINE_HOME to it";
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
                // Standard output is for the list alone.
                fetch.stdout(std::io::stderr());
            }
            let status = fetch.status().or_fail(Failure::Model, || {
                format!("{}: fetching needs Python 3; run `cargo xtask setup`", python.display())
            })?;
            if *json {
                print_json(&installed(&models, &home, names))?;
            }
            Ok(if status.success() { 0 } else { Failure::Model.exit_code() })
        }
        Command::List { json } => {
            if *json {
                print_json(&installed(&models, &home, &[]))?;
                return Ok(0);
            }
            for m in models.models().iter().chain(models.clips()) {
                let there = if home.join(&m.path).is_file() { "installed" } else { "-" };
                outln!("{:<20} {there:<10} {:<12} {}", m.name, m.licence, m.about);
            }
            Ok(0)
        }
        Command::Verify { json } => verify(&models, *json),
    }
}

/// `sideline models verify`: the checksum of every file, and whether each model can be loaded.
fn verify(models: &Models, json: bool) -> Result<u8> {
    let mut loader = Loader::new(models);
    let mut list = vec![];
    let mut all_well = true;
    for model in models.models().iter().chain(models.clips()) {
        let path = models.home().join(&model.path);
        let (state, loaded) = match sha256(&path) {
            Ok(found) if found == model.sha256 => match loader.load(model, &path) {
                Some(Err(why)) => (format!("CANNOT BE USED: {}", why.message), Some(false)),
                loaded => ("ok".to_owned(), loaded.map(|_| true)),
            },
            Ok(_) => (format!("CHANGED: delete it, then {}", model.mend()), None),
            Err(_) => (format!("missing: {}", model.mend()), None),
        };
        all_well &= state == "ok";
        if json {
            list.push(json!({"name": model.name, "path": model.path, "state": state, "loaded": loaded}));
        } else {
            outln!("{:<20} {state}", model.name);
        }
    }
    if json {
        print_json(&list)?;
    }
    if let Some(why) = loader.unavailable {
        errln!("note: only checksums were compared, no model was loaded: {why}");
    }
    Ok(if all_well { 0 } else { Failure::Model.exit_code() })
}

/// Loads models as a run would, where this build and machine can.
struct Loader<'m> {
    models: &'m Models,
    /// Why no model can be loaded here.
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

    /// Loads a model, and runs it once where it is a detector; `None` for what is no model, or where none can be loaded.
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
            Some(decoder) => Kind::of(&mut session, Some(decoder), TRIED_SIZE).map(drop),
            None => Ok(()),
        })
    }

    #[cfg(not(feature = "onnx"))]
    fn load(&mut self, _: &ModelEntry, _: &Path) -> Option<Result<()>> {
        let _ = self.models;
        None
    }
}

/// Columns and rows at which a model is tried that leaves them open.
#[cfg(feature = "onnx")]
const TRIED_SIZE: usize = 640;

/// What models.yml knows, of these names or of all, and whether it is there.
fn installed(models: &Models, home: &Path, names: &[String]) -> Vec<Value> {
    let all = models.models().iter().chain(models.clips());
    all.filter(|m| names.is_empty() || names.contains(&m.name))
        .map(|m| {
            json!({
                "name": m.name, "about": m.about, "registry": m.registry, "package": m.package, "version": m.version, "path": m.path,
                "sha256": m.sha256, "licence": m.licence, "installed": home.join(&m.path).is_file(),
            })
        })
        .collect()
}

/// `sideline models add`: checks that a file is a detector and that its classes have names, then registers it. It is run twice,
/// where it lies and as the copy that is kept.
#[cfg(feature = "onnx")]
fn add(options: &AddModel, models: &mut Models) -> Result<u8> {
    let file = &options.file;
    let wanted = match options.decoder.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(Decoder::from_name(name).ok_or_else(|| {
            let names = Decoder::ALL.map(Decoder::name);
            Error::config(format!("there is no decoder `{name}`{}", sideline_api::config::did_you_mean(name, names)))
        })?),
    };
    let mut session = Session::from_file(file, Device::Cpu, models.home())?;
    let kind = Kind::of(&mut session, wanted, options.size)?;
    let names = match &options.labels {
        Some(word) => match labels::known(word) {
            Some(names) => names,
            None => labels::from_file(Path::new(word))?,
        },
        None => labels::of_model(&session)?.ok_or_else(|| {
            Error::config(format!(
                "{} does not say what its {} classes are called: give `--labels`, a file with one name a line, or `coco`, \
                 or `coco91`",
                file.display(),
                kind.classes
            ))
        })?,
    };
    kind.check_labels(session.name(), &names)?;
    drop(session);
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = options.name.clone().or(stem).unwrap_or_default();
    let (columns, rows) = kind.size;
    let named: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let few = if named.len() > 4 { format!("{}, ...", named[..4].join(", ")) } else { named.join(", ") };
    let about = format!("A detector of {} classes ({few}), {}, {columns}x{rows}.", named.len(), kind.decoder.name());
    let home = models.home().to_owned();
    let entry = models.register(
        file,
        ModelEntry {
            name,
            about,
            licence: options.licence.clone().unwrap_or_else(|| "yours to know".into()),
            decoder: kind.decoder.name().into(),
            labels: names,
            ..ModelEntry::default()
        },
        |copy| prove(copy, file, &kind, options.size, &home),
    )?;
    if options.json {
        print_json(&entry)?;
    } else {
        outln!("{}: {} Registered as {}.", entry.name, entry.about, entry.path.display());
        outln!("Use it: `--set NODE.model={}`, or `MODEL: {}` in the `env:` of a `detect`.", entry.name, entry.name);
    }
    Ok(0)
}

/// Checks that the copy of a model is by itself what the file is where it lies.
#[cfg(feature = "onnx")]
fn prove(copy: &Path, file: &Path, kind: &Kind, size: usize, home: &Path) -> Result<()> {
    let mut session = Session::from_file(copy, Device::Cpu, home).map_err(|cause| {
        Error::model(format!(
            "{0}: it can be used where it lies and not as the copy that would be registered, so it keeps its weights in other \
             files beside it: save it as one file, `python3 -c \"import onnx; onnx.save(onnx.load('{0}'), 'one.onnx')\"`, and \
             add that; or name it by its path, `model: {0}` ({1})",
            file.display(),
            cause.message
        ))
    })?;
    Kind::of(&mut session, Some(kind.decoder), size).map(drop)
}

#[cfg(not(feature = "onnx"))]
fn add(options: &AddModel, _: &mut Models) -> Result<u8> {
    let _ = (&options.decoder, &options.labels, &options.name, &options.licence, options.size, options.json);
    Err(Error::config(format!(
        "{}: this build cannot run models, so it cannot check one: build with the feature `onnx`",
        options.file.display()
    )))
}
