//! What the operators make of a match that is played by hand.

mod support;

use sideline_api::{
    serde_json::Value,
    tables::{Ball, Event, Team, Track},
};
use support::{RATE, between, lies, play, play_with, plays, rolls, stands};

/// Two of team_1 (tracks 1, 2), two of team_2 (3, 4), and their goalkeepers (5, 6).
const A: [f32; 2] = [40.0, 30.0];
const B: [f32; 2] = [55.0, 36.0];
const C: [f32; 2] = [70.0, 40.0];
const D: [f32; 2] = [48.0, 60.0];
const KEEPERS: [[f32; 2]; 2] = [[4.0, 34.0], [101.0, 34.0]];

fn people() -> (Vec<Track>, Vec<Team>) {
    let tracks = [A, B, C, D, KEEPERS[0], KEEPERS[1]].iter().zip(1..).map(|(at, track)| stands(track, *at)).collect();
    let teams = vec![
        plays(1, "team_1", "player"),
        plays(2, "team_1", "player"),
        plays(3, "team_2", "player"),
        plays(4, "team_2", "player"),
        plays(5, "team_1", "goalkeeper"),
        plays(6, "team_2", "goalkeeper"),
    ];
    (tracks, teams)
}

fn scene(way: &[(f32, [f32; 2])]) -> impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>) {
    move |frame| {
        let (tracks, teams) = people();
        (tracks, teams, Some(lies(rolls(way, frame))))
    }
}

fn told(events: &[Event]) -> Vec<(&str, u32, u32, bool)> {
    events.iter().map(|event| (event.kind.as_str(), event.track, event.to, event.complete)).collect()
}

/// A second at A's feet, a pass to B, a second there, a pass that C takes.
const PASSES: [(f32, [f32; 2]); 6] = [(0.0, A), (1.0, A), (2.0, B), (3.0, B), (4.0, C), (5.0, C)];

#[test]
fn a_pass_and_an_interception_are_the_same_in_metres_and_pixels() {
    for pitch in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let said = play(folder.path(), pitch, 150, scene(&PASSES));
        assert_eq!(
            told(&said.events),
            [("pass", 1, 2, true), ("pass", 2, 3, false), ("interception", 3, 3, true)],
            "pitch: {pitch}"
        );
        let pass = &said.events[0];
        assert!((28..40).contains(&pass.at) && (50..66).contains(&pass.end), "{pass:?}");
        assert_eq!((pass.team.as_str(), pass.unit.as_str()), ("team_1", if pitch { "m" } else { "px" }));
        assert!(pass.confidence > 0.5 && pass.id.len() == 36);
        let states: Vec<&str> = said.possession.iter().map(|row| row.state.as_str()).collect();
        assert_eq!((states[20], states[45], states[140]), ("controlled", "loose", "controlled"));
        assert_eq!((said.possession[20].track, said.possession[80].track, said.possession[140].track), (1, 2, 3));
        let last = said.possession.last().unwrap();
        assert!(last.share_1 > 0.55 && (last.share_1 + last.share_2 - 1.0).abs() < 1e-6, "{last:?}");
        let team = said.stats.iter().find(|row| row.team == "team_1" && row.track == 0).unwrap();
        assert_eq!((team.passes, team.completed, team.interceptions), (2, 1, 0));
    }
}

#[test]
fn a_ball_that_flies_past_is_nobodys_and_a_duel_is_contested() {
    let folder = tempfile::tempdir().unwrap();
    // From A to C at 25 m/s, straight past B.
    let past = [(0.0, A), (1.0, A), (2.26, C), (3.0, C)];
    let said = play(folder.path(), true, 90, scene(&past));
    assert!(said.possession.iter().all(|row| row.track != 2), "B never had it");
    let duel = play(folder.path(), true, 60, |_| {
        let (mut tracks, teams) = people();
        tracks[2] = stands(3, [A[0] + 0.3, A[1]]);
        (tracks, teams, Some(lies(A)))
    });
    let row = duel.possession.last().unwrap();
    assert_eq!((row.state.as_str(), row.team.as_str()), ("contested", "team_1"), "{row:?}");
}

#[test]
fn a_carry_is_a_way_with_the_ball() {
    let folder = tempfile::tempdir().unwrap();
    let to = [A[0] + 20.0, A[1] - 5.0];
    let said = play(folder.path(), true, 150, |frame| {
        let (mut tracks, teams) = people();
        let at = between(A, to, frame as f32 / RATE / 4.0);
        tracks[0] = stands(1, at);
        (tracks, teams, Some(lies([at[0] + 0.5, at[1]])))
    });
    assert_eq!(told(&said.events), [("carry", 1, 1, true)]);
    let carry = &said.events[0];
    assert!((carry.end_x - carry.x - 20.0).abs() < 1.0 && carry.team == "team_1", "{carry:?}");
    let way = said.stats.iter().find(|row| row.track == 1).unwrap();
    assert!((way.distance - 20.6).abs() < 2.0 && (way.top_speed - 5.15).abs() < 0.3, "{way:?}");
    assert!((way.zones[2] - way.distance).abs() < 2.0, "5.15 m/s is the third zone: {way:?}");
}

#[test]
fn a_ball_at_the_goal_is_a_shot_only_towards_the_others_goal() {
    let folder = tempfile::tempdir().unwrap();
    let front = [85.0, 34.0];
    let shot = |goal: [f32; 2]| {
        let way = [(0.0, front), (2.0, front), (3.0, goal), (4.0, goal)];
        play(folder.path(), true, 120, move |frame| {
            let (mut tracks, teams) = people();
            tracks[0] = stands(1, front);
            (tracks, teams, Some(lies(rolls(&way, frame))))
        })
    };
    let scored = shot([106.0, 36.0]);
    assert_eq!(told(&scored.events), [("shot", 1, 0, true)], "into the goal");
    let saved = shot([100.5, 34.5]);
    assert_eq!(told(&saved.events), [("shot", 1, 6, false)], "the goalkeeper has it");
    let wide = shot([106.0, 52.0]);
    assert_eq!(told(&wide.events), [("pass", 1, 0, false)], "far beside the goal");
    // Without a pitch the goalkeeper tells where the goal is.
    let way = [(0.0, front), (2.0, front), (3.0, [100.5, 34.5]), (4.0, [100.5, 34.5])];
    let pixels = play(folder.path(), false, 120, move |frame| {
        let (mut tracks, teams) = people();
        tracks[0] = stands(1, front);
        (tracks, teams, Some(lies(rolls(&way, frame))))
    });
    assert_eq!(told(&pixels.events), [("shot", 1, 6, false)]);
    assert!(pixels.events[0].confidence < saved.events[0].confidence, "less sure without a pitch");
}

#[test]
fn a_ball_that_comes_back_from_beside_the_pitch_is_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, out, back) in [
        ("throw_in", [50.0, 70.5], [50.0, 67.8]),
        ("corner", [106.5, 60.0], [104.5, 67.5]),
        ("goal_kick", [106.5, 20.0], [100.0, 38.0]),
    ] {
        let way = [(0.0, C), (1.0, C), (2.0, out), (3.0, out), (3.4, back), (5.0, back)];
        let said = play(folder.path(), true, 140, move |frame| {
            let (mut tracks, teams) = people();
            tracks[3] = stands(4, back);
            (tracks, teams, Some(lies(rolls(&way, frame))))
        });
        let found = told(&said.events);
        assert_eq!(found[0], ("pass", 3, 0, false), "{kind}");
        assert_eq!((found[1].0, found[1].1), (kind, if kind == "goal_kick" { found[1].1 } else { 4 }), "{found:?}");
        assert!(said.possession.iter().any(|row| row.state == "out"));
        let pixels = play(folder.path(), false, 140, scene(&way));
        assert!(pixels.events.iter().all(|event| event.kind != kind), "no lines without a pitch");
    }
}

#[test]
fn no_ball_and_one_team_only_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let summary = || -> Value {
        let text = std::fs::read_to_string(folder.path().join("summary.json")).unwrap();
        sideline_api::serde_json::from_str(&text).unwrap()
    };
    let none = play(folder.path(), false, 60, |_| {
        let (tracks, teams) = people();
        (tracks, teams, None)
    });
    assert!(none.possession.iter().all(|row| row.state == "unknown" && row.share_1.is_nan()));
    assert!(none.events.is_empty());
    assert!(summary()["unknown"].to_string().contains("The ball was never seen"));
    play(folder.path(), false, 60, |_| {
        let (tracks, _) = people();
        (tracks[..2].to_vec(), vec![plays(1, "team_1", "player"), plays(2, "team_1", "player")], Some(lies(A)))
    });
    assert!(summary()["unknown"].to_string().contains("Only one team was seen"));
    assert_eq!(summary()["teams"]["team_1"]["possession"], 1.0);
}

/// Eleven of a team that plays to the right (or left), in 4-4-2, swaying.
fn eleven(first: u32, team: &str, right: bool, frame: u64) -> (Vec<Track>, Vec<Team>) {
    let depths = [5.0, 25.0, 24.0, 24.0, 25.0, 42.0, 40.0, 40.0, 42.0, 58.0, 59.0];
    let across = [34.0, 10.0, 26.0, 42.0, 58.0, 10.0, 26.0, 42.0, 58.0, 28.0, 40.0];
    let both = depths.iter().zip(across).zip(first..);
    both.map(|((depth, y), track)| {
        let turn = frame as f32 / 20.0 + track as f32;
        let x = if right { *depth } else { 105.0 - depth };
        (stands(track, [x + turn.cos(), y + turn.sin()]), plays(track, team, "player"))
    })
    .unzip()
}

#[test]
fn a_formation_is_told_of_each_team_and_period() {
    for pitch in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let said = play_with(
            folder.path(),
            pitch,
            240,
            |frame| {
                let (mut tracks, mut teams) = eleven(1, "team_1", true, frame);
                let (others, sides) = eleven(12, "team_2", false, frame);
                tracks.extend(others);
                teams.extend(sides);
                (tracks, teams, Some(lies(A)))
            },
            [("period", 4.0)].into(),
        );
        let last = &said.formation[said.formation.len() - 4..];
        let order: Vec<(&str, u32)> = last.iter().map(|row| (row.team.as_str(), row.period)).collect();
        assert_eq!(order, [("team_1", 0), ("team_2", 0), ("team_1", 1), ("team_2", 1)]);
        for row in last {
            assert_eq!((row.shape.as_str(), row.players), ("4-4-2", 10), "{row:?}");
            assert_eq!(row.plays, if row.team == "team_1" { "right" } else { "left" });
            let scale = if pitch { 1.0 } else { support::SCALE };
            let rear = if pitch { 24.5 } else { 0.0 };
            assert!((row.lines[0] - rear * scale).abs() < scale, "{row:?}");
            assert!((row.lines[2] - row.lines[0] - 34.0 * scale).abs() < 1.5 * scale, "{row:?}");
            assert!((row.width - 49.0 * scale).abs() < 3.0 * scale && row.confidence > 0.5, "{row:?}");
        }
        let text = std::fs::read_to_string(folder.path().join("summary.json")).unwrap();
        let summary: Value = sideline_api::serde_json::from_str(&text).unwrap();
        assert_eq!(summary["unit"], if pitch { "m" } else { "px" });
        assert_eq!(summary["teams"]["team_2"]["formations"][1]["shape"], "4-4-2");
        for team in ["team_1", "team_2"] {
            let map = summary["teams"][team]["heat_map"].as_str().unwrap();
            assert!(std::fs::read(folder.path().join(map)).unwrap().starts_with(b"\x89PNG"));
        }
    }
}
