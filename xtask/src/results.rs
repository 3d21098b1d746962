//! List of the files that a run has written: videos, tables, figures.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use crate::{output, workspace::Workspace};

/// Kinds of files of a run, in the order in which they are listed.
const KINDS: [&str; 5] = ["video", "summary", "tables", "figures", "result"];

/// Prints the files of the run in `folder`, by kind.
pub fn print(workspace: &Workspace, folder: &Path) {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    output::print_line(format_args!(
        "\nThe run is in {}\n{}",
        workspace.short(folder),
        listing(folder, &files).trim_end()
    ));
}

/// Formats one line for each file, grouped by kind.
fn listing(folder: &Path, files: &[(PathBuf, u64)]) -> String {
    let mut text = String::new();
    for kind in KINDS {
        let mut label = kind;
        for (path, bytes) in files {
            let inside = path.strip_prefix(folder).unwrap_or(path);
            if kind_of(inside) == Some(kind) {
                let _ = writeln!(text, "  {label:<14} {}  ({})", inside.display(), size(*bytes));
                label = "";
            }
        }
    }
    text
}

/// Returns the kind of a file, given its path inside the folder of the run.
fn kind_of(inside: &Path) -> Option<&'static str> {
    if inside.starts_with("result") {
        return Some("result");
    }
    // Of several processes, each writes its own timing file to a folder.
    if inside.starts_with("timing") {
        return Some("figures");
    }
    match (inside.file_name()?.to_str()?, inside.extension()?.to_str()?) {
        ("run.json" | "timing.parquet", _) => Some("figures"),
        (_, "parquet" | "jsonl" | "csv") => Some("tables"),
        (_, "mp4" | "mkv" | "webm") => Some("video"),
        (_, "png") => Some("summary"),
        (name, "json") if name.starts_with("summary") => Some("summary"),
        _ => None,
    }
}

/// Formats a file size.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Collects the files in a folder and its subfolders, with their sizes in bytes.
fn collect(folder: &Path, files: &mut Vec<(PathBuf, u64)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(data) if data.is_dir() => collect(&entry.path(), files),
            Ok(data) => files.push((entry.path(), data.len())),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_grouped_by_kind() {
        let files = [
            "heat-team_1.png",
            "overlay.mp4",
            "result/all.json",
            "run.json",
            "summary.json",
            "timing/capture.parquet",
            "tracks.parquet",
            "x.part",
        ];
        let files: Vec<_> = files.iter().map(|name| (Path::new("/r").join(name), 2_000)).collect();
        let expected = "  video          overlay.mp4  (2 kB)
  summary        heat-team_1.png  (2 kB)
                 summary.json  (2 kB)
  tables         tracks.parquet  (2 kB)
  figures        run.json  (2 kB)
                 timing/capture.parquet  (2 kB)
  result         result/all.json  (2 kB)
";
        assert_eq!(listing(Path::new("/r"), &files), expected);
    }

    #[test]
    fn sizes_have_a_suitable_unit() {
        assert_eq!([size(999), size(1_000), size(2_500_000)], ["999 B", "1 kB", "2.5 MB"]);
    }
}
