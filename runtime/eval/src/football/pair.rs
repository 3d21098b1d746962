//! Which files below a folder make a match.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    FootballError, Match, PANORAMA,
    csv::{self, Kind, Table},
};

/// See [`Match::read_all`].
pub fn read_all(path: &Path) -> Result<Vec<Match>, FootballError> {
    let mut files = vec![];
    walk(path, &mut files)?;
    files.sort();
    let (mut boxes, mut places) = (vec![], vec![]);
    for file in files {
        let bytes = fs::read(&file).map_err(|source| FootballError::Read { path: file.clone(), source })?;
        // Bytes that are no text can only stand in a file that is not of this layout, or in a line that will be named.
        let Some(table) = csv::read(&file, &String::from_utf8_lossy(&bytes))? else { continue };
        let Table { players, first, kind } = table;
        match kind {
            Kind::Boxes(frames) => boxes.push((file, players, first, frames)),
            Kind::Places(frames) => places.push((file, players, first, frames)),
        }
    }
    if boxes.is_empty() {
        return Err(FootballError::Nothing { path: path.to_owned() });
    }
    let mut matches: Vec<Match> = vec![];
    for (file, players, first, frames) in boxes {
        let fits = |at: &usize| {
            let (_, who, from, of): &(PathBuf, _, _, Vec<_>) = &places[*at];
            (who, *from, of.len()) == (&players, first, frames.len())
        };
        let best = (0..places.len()).filter(fits).max_by_key(|at| (alike(&file, &places[*at].0), usize::MAX - at));
        let (mut width, mut height) = PANORAMA;
        for rect in frames.iter().flat_map(|truth| truth.players.iter().chain([&truth.ball])).flatten() {
            (width, height) = (width.max((rect.x + rect.w).ceil()), height.max((rect.y + rect.h).ceil()));
        }
        let mut name = stem(&file);
        if matches.iter().any(|other| other.name == name) {
            name = file.with_extension("").display().to_string();
        }
        let places = best.map(|at| places.swap_remove(at).3);
        matches.push(Match { name, first, players, boxes: frames, places, size: (width, height) });
    }
    Ok(matches)
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), FootballError> {
    let failed = |source| FootballError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            walk(&entry.map_err(failed)?.path(), files)?;
        }
    } else if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
        files.push(path.to_owned());
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// How many letters two files' names share at the beginning and at the end.
fn alike(a: &Path, b: &Path) -> usize {
    let (a, b) = (stem(a), stem(b));
    let begin = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    begin + a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, first: u64, x: &str, places: bool) {
        let columns =
            if places { "x,y,x,y" } else { "bb_left,bb_top,bb_width,bb_height,bb_left,bb_top,bb_width,bb_height" };
        let each = if places { 2 } else { 4 };
        let (teams, numbers) =
            (["0", "BALL"].map(|t| [t].repeat(each).join(",")), ["1", ""].map(|n| [n].repeat(each).join(",")));
        let row = vec![x; 2 * each].join(",");
        let text = format!(
            "TeamID,{}\nPlayerID,{}\nAttributes,{columns}\n{first},{row}\n",
            teams.join(","),
            numbers.join(",")
        );
        fs::write(dir.join(name), text).unwrap();
    }

    #[test]
    fn pairs_are_found_by_frames_and_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("more")).unwrap();
        write(dir.path(), "first_boxes.csv", 0, "1", false);
        write(dir.path(), "first_pitch.csv", 0, "10", true);
        write(dir.path(), "second_boxes.csv", 0, "2", false);
        write(dir.path(), "second_pitch.csv", 0, "20", true);
        write(&dir.path().join("more"), "third.csv", 500, "7000", false);
        fs::write(dir.path().join("notes.csv"), "a,b\n").unwrap();
        let found = Match::read_all(dir.path()).unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|m| (&*m.name, m.first, m.places.as_ref().map(|places| places[0].ball.unwrap()[0])))
            .collect();
        assert_eq!(told, [("first_boxes", 0, Some(10.0)), ("third", 500, None), ("second_boxes", 0, Some(20.0))]);
        assert_eq!((found[0].size, found[1].size), (PANORAMA, (14_000.0, 14_000.0)));
    }

    #[test]
    fn a_folder_without_a_match_says_what_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let error = Match::read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("bb_left"), "{error}");
        assert!(matches!(Match::read_all(&dir.path().join("none")), Err(FootballError::Read { .. })));
    }
}
