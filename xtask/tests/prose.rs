//! Language of the repository: how doc comments begin, and words that are not used.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Greatest share of doc comments that may begin with a relative word: that of the codebases Sideline is compared with.
const MAX_RELATIVE_SHARE: f64 = 0.035;

/// Words that make the first line of a doc comment a riddle: it should name the thing instead.
const RELATIVE: [&str; 9] = ["what", "how", "where", "which", "who", "whose", "whether", "when", "why"];

/// Verbs behind which a relative word is no better.
const VERBS: [&str; 7] = ["returns", "says", "tells", "gives", "holds", "is", "decides"];

/// Words that are replaced by those of the glossary in ARCHITECTURE.
const DENIED: [&str; 9] =
    ["nobody", "somebody", "anybody", "anew", "passed over", "forgotten", "in its own right", "as ever", "the books"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

/// Returns all files below the source folders with one of these extensions.
fn sources(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = vec![];
    let mut folders: Vec<PathBuf> = ["runtime", "operators", "nodes", "tests", "xtask", "models", "dataflows", "docs"]
        .map(|folder| repository().join(folder))
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_ignored =
                path.file_name().is_some_and(|name| name == "clips" || name == "onnx" || name == "__pycache__");
            if path.is_dir() && !is_ignored {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted)) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Returns the text of a doc comment's line.
fn doc_line(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
    (!text.starts_with('/')).then(|| text.trim_start())
}

/// Returns true if a first line begins with a relative word, or with one behind a verb: "Returns what ...".
fn begins_relative(first: &str) -> bool {
    let mut words = first.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase);
    let Some(word) = words.next() else { return false };
    if word == "of" || RELATIVE.contains(&word.as_str()) {
        return true;
    }
    VERBS.contains(&word.as_str()) && words.next().is_some_and(|next| RELATIVE.contains(&next.as_str()))
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let (mut comments, mut offenders) = (0, String::new());
    let mut count = 0;
    for path in sources(&["rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_inside = false;
        for (number, line) in text.lines().enumerate() {
            let Some(doc) = doc_line(line) else {
                is_inside = false;
                continue;
            };
            if !is_inside {
                comments += 1;
                if begins_relative(doc) {
                    count += 1;
                    let _ = writeln!(offenders, "{}:{}: {doc}", path.display(), number + 1);
                }
            }
            is_inside = true;
        }
    }
    let share = f64::from(count) / f64::from(comments);
    assert!(
        share <= MAX_RELATIVE_SHARE,
        "{count} of {comments} doc comments begin with a relative word ({:.1} %, at most {:.1} %); name the thing:\n{offenders}",
        100.0 * share,
        100.0 * MAX_RELATIVE_SHARE
    );
}

#[test]
fn denied_words_are_not_used() {
    let this = Path::new(file!()).file_name().unwrap();
    let mut found = String::new();
    for path in sources(&["rs", "md", "yml", "py", "toml"]) {
        if path.file_name() == Some(this) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            // A key of the result files, which keep their format.
            let lower = line.to_lowercase().replace("\"forgotten\"", "").replace("`forgotten`", "");
            for word in DENIED {
                let is_word = |at: usize| {
                    let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
                    outside(lower[..at].chars().next_back()) && outside(lower[at + word.len()..].chars().next())
                };
                if lower.match_indices(word).any(|(at, _)| is_word(at)) {
                    let _ = writeln!(found, "{}:{}: `{word}`", path.display(), number + 1);
                }
            }
        }
    }
    assert!(found.is_empty(), "these words are not used here; see the glossary in ARCHITECTURE:\n{found}");
}

#[test]
fn a_relative_word_is_found_behind_a_verb_too() {
    for (line, expected) in [
        ("What is counted.", true),
        ("Returns what is counted.", true),
        ("Of each stream, the next frame.", true),
        ("Returns the counts.", false),
        ("Whatever comes is counted.", false),
        ("", false),
    ] {
        assert_eq!(begins_relative(line), expected, "{line}");
    }
}
