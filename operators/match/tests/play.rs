//! Tests of all operators of the crate with a scripted match.

mod support;

use sideline_api::serde_json::Value;
use sideline_sport::tables::{Ball, Direction, Event, EventKind, PossessionState, Role, Team, TeamName, Track, Unit};
use support::{RATE, ball_at, interpolate, person_at, position_along, run_match, run_match_with, team_row};

/// Positions of two players of team_1 (tracks 1, 2) and two of team_2 (3, 4); `KEEPERS` are their goalkeepers (5, 6).
const A: [f32; 2] = [40.0, 30.0];
const B: [f32; 2] = [55.0, 36.0];
const C: [f32; 2] = [70.0, 40.0];
const D: [f32; 2] = [48.0, 60.0];
const KEEPERS: [[f32; 2]; 2] = [[4.0, 34.0], [101.0, 34.0]];

fn people() -> (Vec<Track>, Vec<Team>) {
    let tracks =
        [A, B, C, D, KEEPERS[0], KEEPERS[1]].iter().zip(1..).map(|(at, track)| person_at(track, *at)).collect();
    let teams = vec![
        team_row(1, TeamName::One, Role::Player),
        team_row(2, TeamName::One, Role::Player),
        team_row(3, TeamName::Two, Role::Player),
        team_row(4, TeamName::Two, Role::Player),
        team_row(5, TeamName::One, Role::Goalkeeper),
        team_row(6, TeamName::Two, Role::Goalkeeper),
    ];
    (tracks, teams)
}

fn scene(path: &[(f32, [f32; 2])]) -> impl Fn(u64) -> (Vec<Track>, Vec<Team>, Option<Ball>) {
    move |frame| {
        let (tracks, teams) = people();
        (tracks, teams, Some(ball_at(position_along(path, frame))))
    }
}

fn event_summary(events: &[Event]) -> Vec<(EventKind, u32, u32, bool)> {
    events.iter().map(|event| (event.kind, event.track, event.to, event.complete)).collect()
}

/// One second at A's feet, a pass to B, one second there, and a pass that C intercepts.
const PASSES: [(f32, [f32; 2]); 6] = [(0.0, A), (1.0, A), (2.0, B), (3.0, B), (4.0, C), (5.0, C)];

#[test]
fn a_pass_and_an_interception_are_detected_in_meters_and_pixels() {
    for pitch in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let output = run_match(folder.path(), pitch, 150, scene(&PASSES));
        assert_eq!(
            event_summary(&output.events),
            [(EventKind::Pass, 1, 2, true), (EventKind::Pass, 2, 3, false), (EventKind::Interception, 3, 3, true)],
            "pitch: {pitch}"
        );
        let pass = &output.events[0];
        assert!((28..40).contains(&pass.at) && (50..66).contains(&pass.end), "{pass:?}");
        assert_eq!((pass.team, pass.unit), (TeamName::One, if pitch { Unit::Meters } else { Unit::Pixels }));
        assert!(pass.confidence > 0.5 && pass.id.len() == 36);
        let states: Vec<PossessionState> = output.possession.iter().map(|row| row.state).collect();
        assert_eq!(
            (states[20], states[45], states[140]),
            (PossessionState::Controlled, PossessionState::Loose, PossessionState::Controlled)
        );
        assert_eq!((output.possession[20].track, output.possession[80].track, output.possession[140].track), (1, 2, 3));
        let last = output.possession.last().unwrap();
        assert!(last.share_1 > 0.55 && (last.share_1 + last.share_2 - 1.0).abs() < 1e-6, "{last:?}");
        let team = output.stats.iter().find(|row| row.team == TeamName::One && row.track == 0).unwrap();
        assert_eq!((team.passes, team.completed, team.interceptions), (2, 1, 0));
    }
}

#[test]
fn a_passing_ball_is_not_gained_and_a_duel_is_contested() {
    let folder = tempfile::tempdir().unwrap();
    // From A to C at 25 m/s, straight past B.
    let path = [(0.0, A), (1.0, A), (2.26, C), (3.0, C)];
    let output = run_match(folder.path(), true, 90, scene(&path));
    assert!(output.possession.iter().all(|row| row.track != 2), "B never gained the ball");
    let duel = run_match(folder.path(), true, 60, |_| {
        let (mut tracks, teams) = people();
        tracks[2] = person_at(3, [A[0] + 0.3, A[1]]);
        (tracks, teams, Some(ball_at(A)))
    });
    let row = duel.possession.last().unwrap();
    assert_eq!((row.state, row.team), (PossessionState::Contested, TeamName::One), "{row:?}");
}

#[test]
fn motion_with_the_ball_is_a_carry() {
    let folder = tempfile::tempdir().unwrap();
    let to = [A[0] + 20.0, A[1] - 5.0];
    let output = run_match(folder.path(), true, 150, |frame| {
        let (mut tracks, teams) = people();
        let at = interpolate(A, to, frame as f32 / RATE / 4.0);
        tracks[0] = person_at(1, at);
        (tracks, teams, Some(ball_at([at[0] + 0.5, at[1]])))
    });
    assert_eq!(event_summary(&output.events), [(EventKind::Carry, 1, 1, true)]);
    let carry = &output.events[0];
    assert!((carry.end_x - carry.x - 20.0).abs() < 1.0 && carry.team == TeamName::One, "{carry:?}");
    let stats = output.stats.iter().find(|row| row.track == 1).unwrap();
    assert!((stats.distance - 20.6).abs() < 2.0 && (stats.top_speed - 5.15).abs() < 0.3, "{stats:?}");
    assert!((stats.zones[2] - stats.distance).abs() < 2.0, "5.15 m/s is the third zone: {stats:?}");
}

#[test]
fn a_fast_ball_is_a_shot_only_towards_the_opponents_goal() {
    let folder = tempfile::tempdir().unwrap();
    let front = [85.0, 34.0];
    let shot = |goal: [f32; 2]| {
        let path = [(0.0, front), (2.0, front), (3.0, goal), (4.0, goal)];
        run_match(folder.path(), true, 120, move |frame| {
            let (mut tracks, teams) = people();
            tracks[0] = person_at(1, front);
            (tracks, teams, Some(ball_at(position_along(&path, frame))))
        })
    };
    let scored = shot([106.0, 36.0]);
    assert_eq!(event_summary(&scored.events), [(EventKind::Shot, 1, 0, true)], "into the goal");
    let saved = shot([100.5, 34.5]);
    assert_eq!(event_summary(&saved.events), [(EventKind::Shot, 1, 6, false)], "the goalkeeper has it");
    let wide = shot([106.0, 52.0]);
    assert_eq!(event_summary(&wide.events), [(EventKind::Pass, 1, 0, false)], "far beside the goal");
    // Without a calibrated pitch the goalkeeper marks the position of the goal.
    let path = [(0.0, front), (2.0, front), (3.0, [100.5, 34.5]), (4.0, [100.5, 34.5])];
    let pixels = run_match(folder.path(), false, 120, move |frame| {
        let (mut tracks, teams) = people();
        tracks[0] = person_at(1, front);
        (tracks, teams, Some(ball_at(position_along(&path, frame))))
    });
    assert_eq!(event_summary(&pixels.events), [(EventKind::Shot, 1, 6, false)]);
    assert!(
        pixels.events[0].confidence < saved.events[0].confidence,
        "the confidence is lower without a calibrated pitch"
    );
}

#[test]
fn a_ball_that_returns_to_the_pitch_is_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, out, back) in [
        (EventKind::ThrowIn, [50.0, 70.5], [50.0, 67.8]),
        (EventKind::Corner, [106.5, 60.0], [104.5, 67.5]),
        (EventKind::GoalKick, [106.5, 20.0], [100.0, 38.0]),
    ] {
        let path = [(0.0, C), (1.0, C), (2.0, out), (3.0, out), (3.4, back), (5.0, back)];
        let output = run_match(folder.path(), true, 140, move |frame| {
            let (mut tracks, teams) = people();
            tracks[3] = person_at(4, back);
            (tracks, teams, Some(ball_at(position_along(&path, frame))))
        });
        let found = event_summary(&output.events);
        assert_eq!(found[0], (EventKind::Pass, 3, 0, false), "{kind}");
        assert_eq!(
            (found[1].0, found[1].1),
            (kind, if kind == EventKind::GoalKick { found[1].1 } else { 4 }),
            "{found:?}"
        );
        assert!(output.possession.iter().any(|row| row.state == PossessionState::Out));
        let pixels = run_match(folder.path(), false, 140, scene(&path));
        assert!(pixels.events.iter().all(|event| event.kind != kind), "there are no lines without a calibrated pitch");
    }
}

#[test]
fn the_summary_reports_a_missing_ball_and_a_single_team() {
    let folder = tempfile::tempdir().unwrap();
    let summary = || -> Value {
        let text = std::fs::read_to_string(folder.path().join("summary.json")).unwrap();
        sideline_api::serde_json::from_str(&text).unwrap()
    };
    let none = run_match(folder.path(), false, 60, |_| {
        let (tracks, teams) = people();
        (tracks, teams, None)
    });
    assert!(none.possession.iter().all(|row| row.state == PossessionState::Unknown && row.share_1.is_nan()));
    assert!(none.events.is_empty());
    assert!(summary()["unknown"].to_string().contains("The ball was never seen"));
    run_match(folder.path(), false, 60, |_| {
        let (tracks, _) = people();
        (
            tracks[..2].to_vec(),
            vec![team_row(1, TeamName::One, Role::Player), team_row(2, TeamName::One, Role::Player)],
            Some(ball_at(A)),
        )
    });
    assert!(summary()["unknown"].to_string().contains("Only one team was seen"));
    assert_eq!(summary()["teams"]["team_1"]["possession"], 1.0);
}

/// Returns eleven players of a team that attacks to the right (or left), in 4-4-2, in motion.
fn eleven(first: u32, team: TeamName, right: bool, frame: u64) -> (Vec<Track>, Vec<Team>) {
    let depths = [5.0, 25.0, 24.0, 24.0, 25.0, 42.0, 40.0, 40.0, 42.0, 58.0, 59.0];
    let across = [34.0, 10.0, 26.0, 42.0, 58.0, 10.0, 26.0, 42.0, 58.0, 28.0, 40.0];
    let both = depths.iter().zip(across).zip(first..);
    both.map(|((depth, y), track)| {
        let turn = frame as f32 / 20.0 + track as f32;
        let x = if right { *depth } else { 105.0 - depth };
        (person_at(track, [x + turn.cos(), y + turn.sin()]), team_row(track, team, Role::Player))
    })
    .unzip()
}

#[test]
fn each_team_has_a_formation_per_period() {
    for pitch in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let output = run_match_with(
            folder.path(),
            pitch,
            240,
            |frame| {
                let (mut tracks, mut teams) = eleven(1, TeamName::One, true, frame);
                let (others, sides) = eleven(12, TeamName::Two, false, frame);
                tracks.extend(others);
                teams.extend(sides);
                (tracks, teams, Some(ball_at(A)))
            },
            [("period", 4.0)].into(),
        );
        let last = &output.formation[output.formation.len() - 4..];
        let order: Vec<(TeamName, u32)> = last.iter().map(|row| (row.team, row.period)).collect();
        assert_eq!(order, [(TeamName::One, 0), (TeamName::Two, 0), (TeamName::One, 1), (TeamName::Two, 1)]);
        for row in last {
            assert_eq!((row.shape.as_str(), row.players), ("4-4-2", 10), "{row:?}");
            assert_eq!(row.plays, if row.team == TeamName::One { Direction::Right } else { Direction::Left });
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
