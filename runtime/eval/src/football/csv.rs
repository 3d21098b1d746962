//! Reader of SoccerTrack's CSV files: three header lines that describe the columns, then one line per frame.
//!
//! `TeamID`, `PlayerID`, `Attributes` describe the columns. Attributes are `bb_left`, `bb_top`, `bb_width`, `bb_height`
//! (and `conf`) of boxes in pixels, or `x` and `y` in meters. A line with nothing but `frame` may follow. The ball is
//! the object of team `BALL`, or else of the only team with one member. Cells that are empty or `nan` have no value.

use std::path::Path;

use super::{FootballError, GroundTruth, Player};
use crate::{Rect, without_bom};

/// Content of a file.
#[derive(Debug)]
pub enum Content {
    /// Boxes in the image, px.
    Boxes(Vec<GroundTruth<Rect>>),
    /// Positions on the pitch, meters.
    Positions(Vec<GroundTruth<[f64; 2]>>),
}

/// Parsed file.
#[derive(Debug)]
pub struct Table {
    /// Players, in the order of the columns.
    pub players: Vec<Player>,
    /// Number of the first frame.
    pub first_frame: u64,
    /// Ground truth by frame.
    pub content: Content,
}

/// Player or ball, with the column index of each attribute.
struct Object {
    player: Player,
    columns: Vec<usize>,
}

const BOX: [&str; 4] = ["bb_left", "bb_top", "bb_width", "bb_height"];
const POSITION: [&str; 2] = ["x", "y"];

/// Parses the text of a file; `None` if its first line is not that of this layout.
pub fn read(path: &Path, text: &str) -> Result<Option<Table>, FootballError> {
    let wrong = |line: usize, problem: String| FootballError::Line { path: path.to_owned(), line, problem };
    let lines = without_bom(text).lines();
    let mut lines = lines.map(|line| line.split(',').map(str::trim).collect::<Vec<_>>()).enumerate().peekable();
    let mut header = vec![];
    for name in ["TeamID", "PlayerID", "Attributes"] {
        match lines.next() {
            Some((_, cells)) if cells[0] == name => header.push(cells),
            _ if header.is_empty() => return Ok(None),
            at => {
                let line = at.map_or(header.len() + 1, |(index, _)| index + 1);
                return Err(wrong(line, format!("the line `{name},...` is missing; it describes the columns")));
            }
        }
    }
    let columns = header[0].len();
    if let Some(short) = header.iter().position(|cells| cells.len() != columns) {
        let problem = format!("{} cells, but {columns} in the line of TeamID", header[short].len());
        return Err(wrong(short + 1, problem));
    }
    lines.next_if(|(_, cells)| cells[0] == "frame" && cells[1..].iter().all(|cell| cell.is_empty()));

    let boxes = header[2].contains(&BOX[0]);
    let wanted: &[&str] = if boxes { &BOX } else { &POSITION };
    let objects = objects(&header, wanted).map_err(|problem| wrong(3, problem))?;
    let ball = ball(&objects)
        .ok_or_else(|| wrong(1, "no ball: expected a team `BALL`, or exactly one team with a single member".into()))?;
    let players = without(&objects, ball).map(|object| object.player.clone()).collect();

    let (mut first, mut next) = (None, None);
    let mut rows: Vec<GroundTruth<Vec<f64>>> = vec![];
    for (index, cells) in lines.filter(|(_, cells)| cells.len() > 1 || !cells[0].is_empty()) {
        if cells.len() != columns {
            return Err(wrong(index + 1, format!("{} cells where the header has {columns}", cells.len())));
        }
        let number = frame_number(cells[0]).map_err(|problem| wrong(index + 1, problem))?;
        if let Some(expected) = next.filter(|next| *next != number) {
            return Err(wrong(index + 1, format!("frame {number} where {expected} should follow")));
        }
        (first, next) = (first.or(Some(number)), Some(number + 1));
        let read = |object: &Object| values(&cells, object).map_err(|problem| wrong(index + 1, problem));
        let players = without(&objects, ball).map(read).collect::<Result<_, _>>()?;
        rows.push(GroundTruth { players, ball: read(&objects[ball])? });
    }
    let first = first.ok_or_else(|| wrong(4, "no frame follows the header".into()))?;
    let content = if boxes {
        Content::Boxes(
            rows.into_iter().map(|row| map_truth(row, |v| Rect { x: v[0], y: v[1], w: v[2], h: v[3] })).collect(),
        )
    } else {
        Content::Positions(rows.into_iter().map(|row| map_truth(row, |v| [v[0], v[1]])).collect())
    };
    Ok(Some(Table { players, first_frame: first, content }))
}

fn without(objects: &[Object], ball: usize) -> impl Iterator<Item = &Object> {
    objects.iter().enumerate().filter(move |(at, _)| *at != ball).map(|(_, object)| object)
}

fn map_truth<T>(row: GroundTruth<Vec<f64>>, make: impl Fn(Vec<f64>) -> T) -> GroundTruth<T> {
    GroundTruth {
        players: row.players.into_iter().map(|values| values.map(&make)).collect(),
        ball: row.ball.map(&make),
    }
}

/// Collects the columns of each object, in the order of `wanted`.
fn objects(header: &[Vec<&str>], wanted: &[&str]) -> Result<Vec<Object>, String> {
    let mut objects: Vec<(Player, Vec<Option<usize>>)> = vec![];
    let columns = header[0].iter().zip(&header[1]).zip(&header[2]).enumerate().skip(1);
    for (column, ((team, number), attribute)) in columns {
        let Some(attribute) = wanted.iter().position(|name| name == attribute) else { continue };
        let player = Player { team: (*team).into(), number: (*number).into() };
        let at = objects.iter().position(|(other, _)| *other == player).unwrap_or_else(|| {
            objects.push((player.clone(), vec![None; wanted.len()]));
            objects.len() - 1
        });
        if objects[at].1[attribute].replace(column).is_some() {
            return Err(format!(
                "`{}` of player {} of team {} appears twice",
                wanted[attribute], player.number, player.team
            ));
        }
    }
    if objects.is_empty() {
        return Err(format!("no columns {}, nor {}", BOX.join(", "), POSITION.join(", ")));
    }
    let complete = |(player, columns): (Player, Vec<Option<usize>>)| match columns.iter().position(Option::is_none) {
        Some(gap) => Err(format!("player {} of team {} has no column `{}`", player.number, player.team, wanted[gap])),
        None => Ok(Object { player, columns: columns.into_iter().flatten().collect() }),
    };
    objects.into_iter().map(complete).collect()
}

/// Returns the index of the ball.
fn ball(objects: &[Object]) -> Option<usize> {
    let named = objects.iter().position(|object| object.player.team.eq_ignore_ascii_case("ball"));
    named.or_else(|| {
        let members = |team: &str| objects.iter().filter(|object| object.player.team == team).count();
        let mut alone = (0..objects.len()).filter(|at| members(&objects[*at].player.team) == 1);
        alone.next().filter(|_| alone.next().is_none())
    })
}

/// Parses a frame number: `12`, or `12.0` as some programs write it.
fn frame_number(cell: &str) -> Result<u64, String> {
    cell.strip_suffix(".0").unwrap_or(cell).parse().map_err(|_| format!("`{cell}` is not a frame number"))
}

/// Reads an object's values from a line; `None` where it was not seen.
fn values(cells: &[&str], object: &Object) -> Result<Option<Vec<f64>>, String> {
    let mut values = vec![];
    for column in &object.columns {
        let cell = cells[*column];
        if cell.is_empty() || cell.eq_ignore_ascii_case("nan") {
            continue;
        }
        let value = cell.parse().ok().filter(|value: &f64| value.is_finite());
        values.push(value.ok_or_else(|| format!("column {}: `{cell}` is not a number", column + 1))?);
    }
    match values.len() {
        0 => Ok(None),
        n if n == object.columns.len() => Ok(Some(values)),
        n => {
            let Player { team, number } = &object.player;
            Err(format!("player {number} of team {team} has {n} values of {}", object.columns.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOXES: &str = "TeamID,0,0,0,0,0,1,1,1,1,1,0,0,0,0,0,1,1,1,1,1,3,3,3,3,3
PlayerID,1,1,1,1,1,7,7,7,7,7,2,2,2,2,2,8,8,8,8,8,0,0,0,0,0
Attributes,bb_left,bb_top,bb_width,bb_height,conf,bb_left,bb_top,bb_width,bb_height,conf,bb_left,bb_top,bb_width,bb_height,conf,bb_left,bb_top,bb_width,bb_height,conf,bb_left,bb_top,bb_width,bb_height,conf
frame,,,,,,,,,,,,,,,,,,,,,,,,,
40,10,20,30,40,1.0,11,21,31,41,1.0,,,,,,1,2,3,4,1.0,5,6,7,8,1.0
41.0,10,20,30,40,1.0,11,21,31,41,1.0,nan,nan,nan,nan,nan,1,2,3,4,1.0,5.5,6,7,8,1.0
";

    fn table(text: &str) -> Result<Option<Table>, FootballError> {
        read(Path::new("a.csv"), text)
    }

    #[test]
    fn boxes_are_read_by_their_header() {
        let table = table(BOXES).unwrap().unwrap();
        let names: Vec<_> = table.players.iter().map(|player| (&*player.team, &*player.number)).collect();
        assert_eq!(names, [("0", "1"), ("1", "7"), ("0", "2"), ("1", "8")]);
        let Content::Boxes(frames) = table.content else { panic!() };
        assert_eq!((table.first_frame, frames.len()), (40, 2));
        assert_eq!(frames[0].players[0], Some(Rect { x: 10.0, y: 20.0, w: 30.0, h: 40.0 }));
        assert_eq!((frames[0].players[2], frames[1].players[2]), (None, None));
        assert_eq!(frames[1].ball, Some(Rect { x: 5.5, y: 6.0, w: 7.0, h: 8.0 }));
    }

    #[test]
    fn positions_are_read_and_the_ball_is_found_by_its_team_name() {
        let text = "TeamID,BALL,BALL,0,0\nPlayerID,,,1,1\nAttributes,x,y,x,y\n0,1,2,3,4\n";
        let Content::Positions(frames) = table(text).unwrap().unwrap().content else { panic!() };
        assert_eq!(frames, [GroundTruth { players: vec![Some([3.0, 4.0])], ball: Some([1.0, 2.0]) }]);
    }

    #[test]
    fn files_of_other_layouts_are_ignored() {
        assert!(table("frame,x,y\n1,2,3\n").unwrap().is_none());
    }

    #[test]
    fn errors_name_the_line() {
        for (from, to, wanted) in [
            ("41.0,", "43,", "a.csv:6: frame 43 where 41 should follow"),
            ("5.5,6", "far,6", "a.csv:6: column 22: `far` is not a number"),
            ("\n41.0,10,", "\n41,", "a.csv:6: 25 cells where the header has 26"),
            ("5.5,6", "5.5,", "a.csv:6: player 0 of team 3 has 3 values of 4"),
            ("PlayerID", "Player", "a.csv:2: the line `PlayerID,...` is missing"),
            ("\n40,", "\nforty,", "a.csv:5: `forty` is not a frame number"),
            ("3,3,3,3,3\n", "0,0,0,0,0\n", "a.csv:1: no ball"),
            ("bb_top", "bb_height", "a.csv:3: `bb_height` of player 1 of team 0 appears twice"),
        ] {
            let error = table(&BOXES.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
