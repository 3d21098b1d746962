//! Search for matches below a folder: pairs each file of boxes with its file of positions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    FootballError, Match, PANORAMA_SIZE_PX,
    csv::{self, Content, Table},
};

/// Implements [`Match::read_all`].
pub fn read_all(path: &Path) -> Result<Vec<Match>, FootballError> {
    let mut files = vec![];
    walk(path, &mut files)?;
    files.sort();
    let (mut boxes, mut positions) = (vec![], vec![]);
    for file in files {
        let bytes = fs::read(&file).map_err(|source| FootballError::Read { path: file.clone(), source })?;
        // Bytes that are not UTF-8 can only be in a file of another layout, or in a line that the error names.
        let Some(table) = csv::read(&file, &String::from_utf8_lossy(&bytes))? else { continue };
        let Table { players, first_frame: first, content } = table;
        match content {
            Content::Boxes(frames) => boxes.push((file, players, first, frames)),
            Content::Positions(frames) => positions.push((file, players, first, frames)),
        }
    }
    if boxes.is_empty() {
        return Err(FootballError::NoMatch { path: path.to_owned() });
    }
    let mut matches: Vec<Match> = vec![];
    for (file, players, first, frames) in boxes {
        let fits = |index: &usize| {
            let (_, other_players, other_first, other_frames): &(PathBuf, _, _, Vec<_>) = &positions[*index];
            (other_players, *other_first, other_frames.len()) == (&players, first, frames.len())
        };
        let best = (0..positions.len())
            .filter(fits)
            .max_by_key(|index| (name_similarity(&file, &positions[*index].0), usize::MAX - index));
        let (mut width, mut height) = PANORAMA_SIZE_PX;
        for rect in frames.iter().flat_map(|truth| truth.players.iter().chain([&truth.ball])).flatten() {
            (width, height) = (width.max((rect.x + rect.w).ceil()), height.max((rect.y + rect.h).ceil()));
        }
        let mut name = stem(&file);
        if matches.iter().any(|other| other.name == name) {
            name = file.with_extension("").display().to_string();
        }
        let positions = best.map(|index| positions.swap_remove(index).3);
        matches.push(Match { name, first_frame: first, players, boxes: frames, positions, size: (width, height) });
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

/// Returns the number of letters that two file names share at the beginning plus those at the end.
fn name_similarity(a: &Path, b: &Path) -> usize {
    let (a, b) = (stem(a), stem(b));
    let begin = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    begin + a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, first: u64, x: &str, positions: bool) {
        let columns =
            if positions { "x,y,x,y" } else { "bb_left,bb_top,bb_width,bb_height,bb_left,bb_top,bb_width,bb_height" };
        let each = if positions { 2 } else { 4 };
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
    fn files_are_paired_by_frames_and_names() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("more")).unwrap();
        write(dir.path(), "first_boxes.csv", 0, "1", false);
        write(dir.path(), "first_pitch.csv", 0, "10", true);
        write(dir.path(), "second_boxes.csv", 0, "2", false);
        write(dir.path(), "second_pitch.csv", 0, "20", true);
        write(&dir.path().join("more"), "third.csv", 500, "7000", false);
        fs::write(dir.path().join("notes.csv"), "a,b\n").unwrap();
        let found = Match::read_all(dir.path()).unwrap();
        let summaries: Vec<_> = found
            .iter()
            .map(|m| (&*m.name, m.first_frame, m.positions.as_ref().map(|positions| positions[0].ball.unwrap()[0])))
            .collect();
        assert_eq!(summaries, [("first_boxes", 0, Some(10.0)), ("third", 500, None), ("second_boxes", 0, Some(20.0))]);
        assert_eq!((found[0].size, found[1].size), (PANORAMA_SIZE_PX, (14_000.0, 14_000.0)));
    }

    #[test]
    fn the_error_of_a_folder_without_a_match_names_the_layout() {
        let dir = tempfile::tempdir().unwrap();
        let error = Match::read_all(dir.path()).unwrap_err().to_string();
        assert!(error.contains("bb_left"), "{error}");
        assert!(matches!(Match::read_all(&dir.path().join("none")), Err(FootballError::Read { .. })));
    }
}
