//! What the commentary says of moves that are known.

use std::{collections::BTreeMap, path::Path};

use sideline_api::{
    Alignment, Body, Config, Payload, Table,
    tables::{Commentary, Interaction, Move},
    testing::{Harness, Setup},
};
use sideline_commentary::{CommentaryConfig, CommentaryOperator, vocabulary::Vocabulary};

/// Frames a second.
const RATE: f64 = 30.0;

fn strike(fighter: &str, label: &str, peak: u64) -> Move {
    Move {
        id: format!("{fighter}-{label}-{peak}"),
        track: 1,
        fighter: fighter.into(),
        label: label.into(),
        start: peak.saturating_sub(5),
        peak,
        end: peak + 5,
        limb: "left_hand".into(),
        confidence: 0.9,
        speed: 14.0,
        labels: String::new(),
        probabilities: vec![],
        models: String::new(),
        weights: vec![],
    }
}

/// A sentence, with the frame it came with.
type Told = (u64, Commentary);

/// Runs a bout: each move is known ten frames after its peak.
fn run<const N: usize>(
    values: [(&str, serde_json::Value); N],
    frames: u64,
    moves: &[Move],
    pairs: &[Interaction],
) -> Vec<Told> {
    let mut inputs = vec![("moves", Alignment::Source(sideline_api::SourceId(0)))];
    if !pairs.is_empty() {
        inputs.push(("interaction", Alignment::Source(sideline_api::SourceId(0))));
    }
    let setup = Setup { inputs: Some(inputs), ..Setup::default() };
    let mut h = Harness::<CommentaryOperator>::with(values, setup).unwrap();
    let mut told = vec![];
    for frame in 0..frames {
        let known: Vec<Move> = moves.iter().filter(|row| row.peak + 10 == frame).cloned().collect();
        h.push("moves", &known).unwrap();
        if !pairs.is_empty() {
            h.push("interaction", pairs).unwrap();
        }
        told.extend(h.expect::<Commentary>("commentary").into_iter().map(|row| (frame, row)));
    }
    told
}

/// Two fighters of whom the reach of the first is known.
fn pair(reach_a: f32) -> Interaction {
    let nan = f32::NAN;
    Interaction {
        track_a: 1,
        fighter_a: "fighter_1".into(),
        track_b: 2,
        fighter_b: "fighter_2".into(),
        distance: 2.0,
        closing_speed: nan,
        facing_a: nan,
        facing_b: nan,
        reach_a,
        reach_b: nan,
    }
}

fn texts(told: &[Told]) -> Vec<&str> {
    told.iter().map(|(_, row)| row.text.as_str()).collect()
}

/// A long bout of both, fast and varied: every second to fifth half second a strike.
fn brawl(seconds: u64) -> Vec<Move> {
    let labels =
        ["jab", "cross", "hook", "uppercut", "knee", "front_kick", "unsure", "clinch", "duck", "spinning_back_fist"];
    let mut moves = vec![];
    let mut frame = 20;
    for i in 0.. {
        // A fixed, uneven pattern.
        let n = (i * 7919 + i * i * 31) as usize;
        frame += 4 + (n % 17) as u64;
        if frame > seconds * RATE as u64 {
            break;
        }
        let mut row = strike(["fighter_1", "fighter_2"][n / 3 % 2], labels[n / 5 % labels.len()], frame);
        (row.speed, row.confidence) = (4.0 + (n % 31) as f32, 0.3 + 0.7 * (n % 11) as f32 / 11.0);
        moves.push(row);
    }
    moves
}

#[test]
fn a_strike_is_told_with_who_what_and_its_frame() {
    let told = run([], 60, &[strike("fighter_1", "hammer_fist", 20)], &[]);
    let [(frame, row)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*frame, 30, "when it is known");
    assert!(row.text.contains("Red") && row.text.contains("hammer fist"), "{}", row.text);
    assert_eq!((row.fighter.as_str(), row.at, row.move_id.as_str()), ("fighter_1", 20, "fighter_1-hammer_fist-20"));
}

#[test]
fn a_combination_is_told_as_one_with_its_moves_in_order() {
    let moves = [("jab", 20), ("cross", 29), ("hook", 40)].map(|(label, peak)| strike("fighter_2", label, peak));
    let told = run([], 90, &moves, &[]);
    let last = &told.last().unwrap().1;
    assert!(last.text.to_lowercase().contains("jab, cross, hook") && last.text.contains("Blue"), "{told:?}");
    assert_eq!(last.move_id, "fighter_2-hook-40");
    assert_eq!(told.len(), 2, "the first one, then all three: {told:?}");
}

#[test]
fn blows_of_both_are_an_exchange() {
    let moves: Vec<Move> =
        (0..4).map(|i| strike(["fighter_1", "fighter_2"][i % 2], "hook", 20 + 9 * i as u64)).collect();
    let told = run([], 120, &moves, &[]);
    let exchange = told.iter().find(|(_, row)| row.fighter.is_empty()).map(|(_, row)| row);
    assert!(exchange.is_some_and(|row| !row.move_id.is_empty()), "{told:?}");
}

#[test]
fn many_strikes_in_a_row_are_counted() {
    let moves: Vec<Move> = (0..6).map(|i| strike("fighter_1", "jab", 20 + 7 * i)).collect();
    let told = run([], 120, &moves, &[]);
    let level =
        |row: &Commentary| ["low", "medium", "high", "knockout"].iter().position(|name| *name == row.excitement);
    assert!(level(&told.last().unwrap().1) > level(&told[0].1), "excitement grows: {told:?}");
}

#[test]
fn harder_and_more_certain_strikes_are_more_exciting() {
    let level = |speed: f32, confidence: f32| {
        let row = Move { speed, confidence, ..strike("fighter_1", "cross", 20) };
        run([], 60, &[row], &[])[0].1.excitement.clone()
    };
    assert_eq!(
        [level(6.0, 0.9), level(14.0, 0.9), level(19.0, 1.0), level(30.0, 1.0)],
        ["low", "medium", "high", "knockout"]
    );
    assert_eq!(level(19.0, 0.1), "low", "what is not certain is not cheered");
    assert_eq!(level(f32::NAN, 0.9), "low");
}

#[test]
fn what_is_hard_is_learnt_from_the_bout() {
    // All far below the key `hard`: the hardest of them is no tap.
    let slow: Vec<Move> = (0..40).map(|i| Move { speed: 2.0, ..strike("fighter_1", "jab", 30 + 60 * i) }).collect();
    let told = run([("quiet", 0.into())], 2500, &slow, &[]);
    assert_eq!(told[0].1.excitement, "low");
    assert_eq!(told.last().unwrap().1.excitement, "medium");
}

#[test]
fn a_move_that_is_not_certain_is_not_named() {
    let moves: Vec<Move> = (0..12).map(|i| strike("fighter_1", "unsure", 30 + 60 * i)).collect();
    let told = run([("quiet", 0.into())], 800, &moves, &[]);
    assert!(told.len() > 8, "{told:?}");
    for (_, row) in &told {
        let words = row.text.to_lowercase();
        assert!(!["unsure", "jab", "cross", "hook", "kick"].iter().any(|word| words.contains(word)), "{words}");
    }
    // They are no part of a combination, and keep quiet while there is something to tell.
    let between: Vec<Move> = [("jab", 20), ("unsure", 27), ("hook", 34), ("unsure", 60)]
        .map(|(label, peak)| strike("fighter_1", label, peak))
        .into();
    let told = run([], 80, &between, &[]);
    assert!(told.last().unwrap().1.text.to_lowercase().contains("jab, hook"), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(run([("unsure", false.into()), ("quiet", 0.into())], 800, &moves, &[]), []);
}

#[test]
fn reach_tells_what_landed_from_what_fell_short() {
    let yaml =
        r#"{phrases: {strike: {low: ["neither"]}, strike_landed: {low: ["landed"]}, strike_short: {low: ["short"]}}}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.yml");
    std::fs::write(&path, yaml).unwrap();
    let said = |fighter: &str, reach: f32| {
        let path = path.to_str().unwrap().into();
        texts(&run([("vocabulary", path)], 40, &[strike(fighter, "jab", 20)], &[pair(reach)]))[0].to_owned()
    };
    assert_eq!(said("fighter_1", 0.0), "Landed");
    assert_eq!(said("fighter_1", 0.9), "Short");
    assert_eq!(said("fighter_1", 0.3), "Neither", "one camera does not tell");
    assert_eq!(said("fighter_2", 0.0), "Neither", "not known of him");
}

#[test]
fn no_phrase_comes_again_within_eight_and_at_most_two_a_second() {
    let told = run([], 120 * 30, &brawl(120), &[]);
    assert!(told.len() > 60, "{}", told.len());
    let texts = texts(&told);
    for (i, text) in texts.iter().enumerate() {
        assert!(text.chars().count() <= 200, "{text}");
        assert!(!texts[i.saturating_sub(8)..i].contains(text), "{text} again, sentence {i}");
    }
    for (i, (frame, _)) in told.iter().enumerate() {
        let within = told[i..].iter().take_while(|(other, _)| other - frame < RATE as u64).count();
        assert!(within <= 2, "{within} sentences from frame {frame} on");
    }
    let calm = run([("per_second", 1.into())], 120 * 30, &brawl(120), &[]);
    assert!(calm.windows(2).all(|pair| pair[1].0 - pair[0].0 >= RATE as u64));
    assert_eq!(run([("per_second", 0.into())], 900, &brawl(30), &[]), []);
}

#[test]
fn phrases_not_only_sentences_are_kept_apart() {
    // Two phrases and many strikes: with other words in the gaps the sentences differ, the phrases do not.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.yml");
    std::fs::write(&path, r#"{phrases: {strike: {low: ["{move} one", "{move} two"]}}}"#).unwrap();
    let moves: Vec<Move> = (0..20).map(|i| strike("fighter_1", &format!("move_{i}"), 30 + 60 * i)).collect();
    let told = run([("vocabulary", path.to_str().unwrap().into())], 1300, &moves, &[]);
    assert_eq!(told.len(), 2, "both were said, then silence is better: {told:?}");
}

#[test]
fn a_quiet_spell_is_told_and_told_again() {
    let told = run([("quiet", 2.into())], 30 * 9, &[], &[pair(f32::NAN)]);
    let frames: Vec<u64> = told.iter().map(|(frame, _)| *frame).collect();
    // Two seconds are 60 frames and a few nanoseconds.
    assert_eq!(frames, [61, 122, 183, 244]);
    assert!(told.iter().all(|(_, row)| row.move_id.is_empty() && row.excitement == "low"));
}

#[test]
fn who_trains_alone_has_no_opponent() {
    let moves: Vec<Move> = brawl(60).into_iter().map(|row| Move { fighter: String::new(), ..row }).collect();
    let told = run([("quiet", 2.into())], 65 * 30, &moves, &[]);
    assert!(told.len() > 20);
    for (_, row) in &told {
        let words = row.text.to_lowercase();
        let of_two = ["red", "blue", "both", "they", "each other", "neither"];
        assert!(!words.split(|c: char| !c.is_alphabetic()).any(|word| of_two.contains(&word)), "{words}");
    }
    assert_eq!(run([("quiet", 2.into())], 600, &[], &[]), [], "nobody has done anything yet");
}

#[test]
fn the_same_bout_gives_the_same_sentences_also_from_a_saved_state() {
    let moves = brawl(40);
    let whole = run([], 1200, &moves, &[]);
    assert_eq!(whole, run([], 1200, &moves, &[]));

    let mut h = Harness::<CommentaryOperator>::new([("quiet", 6)]).unwrap();
    for frame in 0..600 {
        let known: Vec<Move> = moves.iter().filter(|row| row.peak + 10 == frame).cloned().collect();
        h.push("moves", &known).unwrap();
        h.push::<Interaction>("interaction", &[]).unwrap();
    }
    let state = h.state("test").unwrap();
    let saved = serde_json::to_string(&state).unwrap();
    assert!(saved.len() < 100_000, "{} bytes", saved.len());
    let back: sideline_commentary::Memory = serde_json::from_str(&saved).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), saved);
}

#[test]
fn the_moves_that_come_with_the_end_are_told() {
    let mut h = Harness::<CommentaryOperator>::new([("quiet", 0)]).unwrap();
    for _ in 0..30 {
        h.push::<Move>("moves", &[]).unwrap();
        h.push::<Interaction>("interaction", &[]).unwrap();
    }
    let rows = Move::encode(&[strike("fighter_1", "hook", 25)]);
    h.push_closing("moves", Body::Data(Payload::Table(std::sync::Arc::new(rows)))).unwrap();
    h.push_at("moves", 30, Body::End { frames: 30 }).unwrap();
    h.push_at("interaction", 30, Body::End { frames: 30 }).unwrap();
    let mut told = vec![];
    while let Some(message) = h.next_message("commentary") {
        if let Body::Data(Payload::Table(rows)) = message.body {
            told.extend(Commentary::decode(&rows).unwrap());
        }
    }
    assert_eq!(told.len(), 1);
}

#[test]
fn a_label_without_words_is_called_by_its_name() {
    let told = run([], 60, &[strike("", "spinning_back_fist", 20)], &[]);
    assert!(told[0].1.text.contains("spinning back fist"), "{told:?}");
    assert!(told[0].1.text.to_lowercase().contains("the fighter"), "who has no name: {told:?}");
}

#[test]
fn every_mistake_in_a_vocabulary_is_told_with_its_line_and_the_mend() {
    let text = r#"names:
  fighter_3: Green
moves:
  jab: { nme: jab }
  clinch: { kind: hold }
phrases:
  strike:
    low:
      - "{who} throws {movee}"
      - "{who throws"
      - "LONG {who} {a_move} {limb}"
      - { who }
    medium: []
    loud:
      - "x"
  strike_lnded:
    low: ["x"]
phrase: 1
"#
    .replace("LONG", &"x".repeat(150));
    let error = Vocabulary::parse(&text, "words.yml").unwrap_err();
    assert_eq!(error.failure.exit_code(), 1);
    let told: BTreeMap<&str, &str> = error.message.lines().map(|line| line.split_once(": error: ").unwrap()).collect();
    for (place, part) in [
        ("words.yml:2:3", "no fighter `fighter_3`"),
        ("words.yml:4:10", "did you mean `name`?"),
        ("words.yml:9:9", "did you mean `moves`?"),
        ("words.yml:10:9", "does not close it"),
        ("words.yml:11:9", "characters with the longest words, 200 are allowed: shorten it by"),
        ("words.yml:12:9", "put it into quotes"),
        ("words.yml:13:5", "has at least one"),
        ("words.yml:14:5", "no level `loud`"),
        ("words.yml:16:3", "did you mean `strike_landed`?"),
        ("words.yml:18:1", "did you mean `phrases`?"),
    ] {
        assert!(told.get(place).is_some_and(|told| told.contains(part)), "{place} {part}: {told:#?}");
    }
    assert_eq!(told.len(), 10, "{told:#?}");
}

#[test]
fn a_vocabulary_says_what_is_otherwise_and_the_rest_stays() {
    let vocabulary =
        Vocabulary::parse("names: {fighter_1: Ana}\nmoves: {jab: poke, lift: {kind: hold}}\n", "words.yml").unwrap();
    assert_eq!([vocabulary.name("fighter_1"), vocabulary.name("fighter_2")], ["Ana", "Blue"]);
    assert_eq!([vocabulary.said("jab").one, vocabulary.said("hook").one], ["poke", "a hook"]);
    assert_eq!((vocabulary.said("lift").kind.as_str(), vocabulary.said("lift").name.as_str()), ("hold", "lift"));
    // What does not go together with what stayed.
    let told = |text: &str| Vocabulary::parse(text, "words.yml").unwrap_err().message;
    let error = told("moves:\n  tap: {kind: signal}\n");
    assert!(
        error.contains("words.yml:1:1: error: there are no phrases for moves of the kind `signal`: add `signal:`"),
        "{error}"
    );
    let error = told(&format!("names: {{fighter_1: {}}}\n", "Maximiliana ".repeat(15)));
    assert!(
        error.contains("with these words `") && error.contains("200 are allowed: shorten the longest names"),
        "{error}"
    );
}

#[test]
fn a_vocabulary_that_is_no_yaml_or_not_there_is_told_before_the_first_frame() {
    let error = Vocabulary::parse("phrases: {a: [\n", "words.yml").unwrap_err();
    assert!(error.message.starts_with("words.yml:") && error.failure.exit_code() == 1, "{error}");
    let error = Vocabulary::parse("words", "words.yml").unwrap_err();
    assert!(error.message.contains("words.yml:1:1: error: a vocabulary is a map"), "{error}");
    let error = Harness::<CommentaryOperator>::new([("vocabulary", "nowhere.yml")]).err().unwrap();
    assert!(error.message.contains("key `vocabulary`") && error.failure.exit_code() == 1, "{error}");
}

#[test]
fn the_vocabulary_that_comes_with_it_is_whole_and_its_keys_are_documented() {
    let vocabulary = Vocabulary::read(None).unwrap();
    assert_eq!(vocabulary.name("fighter_1"), "Red");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dataflows/vocabulary.yml");
    Vocabulary::read(Some(&file)).unwrap();
    assert!(CommentaryConfig::keys().iter().all(|key| !key.about.is_empty()));
}
