//! `sideline models`: what is installed, and models of one's own.

use std::{path::Path, process::Command as Process};

use serde_json::{Value, json};
use sideline_api::{
    Error, Failure, OrFail, Result,
    models::{Models, sha256},
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
        Command::Verify { json } => {
            let mut wrong = 0;
            let mut list = vec![];
            for m in models.models().iter().chain(models.clips()) {
                let path = home.join(&m.path);
                let state = match sha256(&path) {
                    Ok(found) if found == m.sha256 => "ok".to_owned(),
                    Ok(_) => format!("CHANGED: delete it, then {}", m.mend()),
                    Err(_) => format!("missing: {}", m.mend()),
                };
                wrong += usize::from(state != "ok");
                if *json {
                    list.push(json!({"name": m.name, "path": m.path, "state": state}));
                } else {
                    outln!("{:<20} {state}", m.name);
                }
            }
            if *json {
                print_json(&list)?;
            }
            Ok(if wrong == 0 { 0 } else { Failure::Model.exit_code() })
        }
    }
}

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

/// `sideline models add`: checks that a file is a detector and that its classes have names, then registers it.
#[cfg(feature = "onnx")]
fn add(options: &AddModel, models: &mut Models) -> Result<u8> {
    use sideline_api::{Device, models::ModelEntry};
    use sideline_detect::{Kind, decode::Decoder, labels};
    use sideline_inference::Session;

    let file = &options.file;
    let wanted = match options.decoder.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(Decoder::from_name(name).ok_or_else(|| {
            let names = Decoder::ALL.map(Decoder::name);
            Error::config(format!("there is no decoder `{name}`{}", sideline_api::config::did_you_mean(name, names)))
        })?),
    };
    let beside = Path::new(&format!("{}.data", file.display())).to_owned();
    if beside.is_file() {
        return Err(Error::model(format!(
            "{} keeps its weights in a file beside it, {}: export it as one file",
            file.display(),
            beside.display()
        )));
    }
    let mut session = Session::from_file(file, Device::Cpu, models.home())?;
    let kind = Kind::of(&mut session, wanted, options.size)?;
    let names = match &options.labels {
        Some(word) => match labels::known(word) {
            Some(names) => names,
            None => labels::from_file(Path::new(word))?,
        },
        None => session.metadata("names")?.and_then(|names| labels::of_metadata(&names)).ok_or_else(|| {
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
    )?;
    if options.json {
        print_json(&entry)?;
    } else {
        outln!("{}: {} Registered as {}.", entry.name, entry.about, entry.path.display());
        outln!("Use it: `--set NODE.model={}`, or `MODEL: {}` in the `env:` of a `detect`.", entry.name, entry.name);
    }
    Ok(0)
}

#[cfg(not(feature = "onnx"))]
fn add(options: &AddModel, _: &mut Models) -> Result<u8> {
    let _ = (&options.decoder, &options.labels, &options.name, &options.licence, options.size, options.json);
    Err(Error::config(format!(
        "{}: this build cannot run models, so it cannot check one: build with the feature `onnx`",
        options.file.display()
    )))
}
