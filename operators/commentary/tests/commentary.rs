//! Tests of the commentary operator on given moves, and of its vocabulary.

use std::{collections::BTreeMap, path::Path};

use sideline_api::{
    Alignment, Body, Config, Payload, Table,
    testing::{Harness, Setup},
};
use sideline_commentary::{CommentaryConfig, vocabulary::Vocabulary};
use sideline_sport::{
    Excitement,
    tables::{Commentary, Fighter, Interaction, Move},
};

/// Frame rate, frames per second.
const FRAME_RATE: f64 = 30.0;

fn strike(fighter: Fighter, label: &str, peak: u64) -> Move {
    Move {
        id: format!("{fighter}-{label}-{peak}"),
        track: 1,
        fighter,
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

/// Frame number and sentence.
type Sentence = (u64, Commentary);

/// Runs a bout in which each move arrives ten frames after its peak.
fn run<const N: usize>(
    values: [(&str, serde_json::Value); N],
    frames: u64,
    moves: &[Move],
    pairs: &[Interaction],
) -> Vec<Sentence> {
    let mut inputs = vec![("moves", Alignment::Source(sideline_api::SourceId(0)))];
    if !pairs.is_empty() {
        inputs.push(("interaction", Alignment::Source(sideline_api::SourceId(0))));
    }
    let setup = Setup { inputs: Some(inputs), ..Setup::default() };
    let mut h = Harness::<sideline_commentary::Commentary>::with(values, setup).unwrap();
    let mut sentences = vec![];
    for frame in 0..frames {
        let known: Vec<Move> = moves.iter().filter(|row| row.peak + 10 == frame).cloned().collect();
        h.push("moves", &known).unwrap();
        if !pairs.is_empty() {
            h.push("interaction", pairs).unwrap();
        }
        sentences.extend(h.expect::<Commentary>("commentary").into_iter().map(|row| (frame, row)));
    }
    sentences
}

/// Builds the interaction of two fighters with a known reach of the first.
fn pair(reach_a: f32) -> Interaction {
    let nan = f32::NAN;
    Interaction {
        track_a: 1,
        fighter_a: Fighter::One,
        track_b: 2,
        fighter_b: Fighter::Two,
        distance: 2.0,
        closing_speed: nan,
        facing_a: nan,
        facing_b: nan,
        reach_a,
        reach_b: nan,
    }
}

fn texts(sentences: &[Sentence]) -> Vec<&str> {
    sentences.iter().map(|(_, row)| row.text.as_str()).collect()
}

/// Generates a long bout of both fighters with varied strikes, 4 to 20 frames apart.
fn long_bout(seconds: u64) -> Vec<Move> {
    let labels =
        ["jab", "cross", "hook", "uppercut", "knee", "front_kick", "unsure", "clinch", "duck", "spinning_back_fist"];
    let mut moves = vec![];
    let mut frame = 20;
    for i in 0.. {
        // A fixed, uneven pattern.
        let n = (i * 7919 + i * i * 31) as usize;
        frame += 4 + (n % 17) as u64;
        if frame > seconds * FRAME_RATE as u64 {
            break;
        }
        let mut row = strike(Fighter::FIGHTERS[n / 3 % 2], labels[n / 5 % labels.len()], frame);
        (row.speed, row.confidence) = (4.0 + (n % 31) as f32, 0.3 + 0.7 * (n % 11) as f32 / 11.0);
        moves.push(row);
    }
    moves
}

#[test]
fn a_strike_is_reported_with_fighter_move_and_frame() {
    let sentences = run([], 60, &[strike(Fighter::One, "hammer_fist", 20)], &[]);
    let [(frame, row)] = &sentences[..] else { panic!("{sentences:?}") };
    assert_eq!(*frame, 30, "when the move arrives");
    assert!(row.text.contains("Red") && row.text.contains("hammer fist"), "{}", row.text);
    assert_eq!((row.fighter, row.at, row.move_id.as_str()), (Fighter::One, 20, "fighter_1-hammer_fist-20"));
}

#[test]
fn a_combination_is_one_sentence_with_its_moves_in_order() {
    let moves = [("jab", 20), ("cross", 29), ("hook", 40)].map(|(label, peak)| strike(Fighter::Two, label, peak));
    let sentences = run([], 90, &moves, &[]);
    let last = &sentences.last().unwrap().1;
    assert!(last.text.to_lowercase().contains("jab, cross, hook") && last.text.contains("Blue"), "{sentences:?}");
    assert_eq!(last.move_id, "fighter_2-hook-40");
    assert_eq!(sentences.len(), 2, "the first one, then all three: {sentences:?}");
}

#[test]
fn strikes_of_both_fighters_are_an_exchange() {
    let moves: Vec<Move> = (0..4).map(|i| strike(Fighter::FIGHTERS[i % 2], "hook", 20 + 9 * i as u64)).collect();
    let sentences = run([], 120, &moves, &[]);
    let exchange = sentences.iter().find(|(_, row)| row.fighter == Fighter::None).map(|(_, row)| row);
    assert!(exchange.is_some_and(|row| !row.move_id.is_empty()), "{sentences:?}");
}

#[test]
fn many_strikes_in_a_row_are_a_flurry_of_higher_excitement() {
    let moves: Vec<Move> = (0..6).map(|i| strike(Fighter::One, "jab", 20 + 7 * i)).collect();
    let sentences = run([], 120, &moves, &[]);
    let level = |row: &Commentary| row.excitement;
    assert!(level(&sentences.last().unwrap().1) > level(&sentences[0].1), "excitement grows: {sentences:?}");
}

#[test]
fn harder_and_more_certain_strikes_are_more_exciting() {
    let level = |speed: f32, confidence: f32| {
        let row = Move { speed, confidence, ..strike(Fighter::One, "cross", 20) };
        run([], 60, &[row], &[])[0].1.excitement
    };
    assert_eq!(
        [level(6.0, 0.9), level(14.0, 0.9), level(19.0, 1.0), level(30.0, 1.0)],
        [Excitement::Low, Excitement::Medium, Excitement::High, Excitement::Knockout]
    );
    assert_eq!(level(19.0, 0.1), Excitement::Low, "an uncertain strike is not exciting");
    assert_eq!(level(f32::NAN, 0.9), Excitement::Low);
}

#[test]
fn hard_strikes_are_relative_to_the_bout() {
    // All are far below the key `hard`, but as hard as this bout gets.
    let slow: Vec<Move> = (0..40).map(|i| Move { speed: 2.0, ..strike(Fighter::One, "jab", 30 + 60 * i) }).collect();
    let sentences = run([("quiet", 0.into())], 2500, &slow, &[]);
    assert_eq!(sentences[0].1.excitement, Excitement::Low);
    assert_eq!(sentences.last().unwrap().1.excitement, Excitement::Medium);
}

#[test]
fn an_unsure_move_is_not_named() {
    let moves: Vec<Move> = (0..12).map(|i| strike(Fighter::One, "unsure", 30 + 60 * i)).collect();
    let sentences = run([("quiet", 0.into())], 800, &moves, &[]);
    assert!(sentences.len() > 8, "{sentences:?}");
    for (_, row) in &sentences {
        let words = row.text.to_lowercase();
        assert!(!["unsure", "jab", "cross", "hook", "kick"].iter().any(|word| words.contains(word)), "{words}");
    }
    // Unsure moves are no part of a combination, and are not reported while there is another topic.
    let between: Vec<Move> = [("jab", 20), ("unsure", 27), ("hook", 34), ("unsure", 60)]
        .map(|(label, peak)| strike(Fighter::One, label, peak))
        .into();
    let sentences = run([], 80, &between, &[]);
    assert!(sentences.last().unwrap().1.text.to_lowercase().contains("jab, hook"), "{sentences:?}");
    assert_eq!(sentences.len(), 2, "{sentences:?}");
    assert_eq!(run([("unsure", false.into()), ("quiet", 0.into())], 800, &moves, &[]), []);
}

#[test]
fn reach_selects_phrases_for_strikes_that_landed_or_fell_short() {
    let yaml =
        r#"{phrases: {strike: {low: ["neither"]}, strike_landed: {low: ["landed"]}, strike_short: {low: ["short"]}}}"#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.yml");
    std::fs::write(&path, yaml).unwrap();
    let sentence = |fighter: Fighter, reach: f32| {
        let path = path.to_str().unwrap().into();
        texts(&run([("vocabulary", path)], 40, &[strike(fighter, "jab", 20)], &[pair(reach)]))[0].to_owned()
    };
    assert_eq!(sentence(Fighter::One, 0.0), "Landed");
    assert_eq!(sentence(Fighter::One, 0.9), "Short");
    assert_eq!(sentence(Fighter::One, 0.3), "Neither", "one camera cannot tell");
    assert_eq!(sentence(Fighter::Two, 0.0), "Neither", "the reach of fighter_2 is unknown");
}

#[test]
fn no_phrase_repeats_within_eight_and_at_most_two_come_per_second() {
    let sentences = run([], 120 * 30, &long_bout(120), &[]);
    assert!(sentences.len() > 60, "{}", sentences.len());
    let texts = texts(&sentences);
    for (i, text) in texts.iter().enumerate() {
        assert!(text.chars().count() <= 200, "{text}");
        assert!(!texts[i.saturating_sub(8)..i].contains(text), "{text} again, sentence {i}");
    }
    for (i, (frame, _)) in sentences.iter().enumerate() {
        let within = sentences[i..].iter().take_while(|(other, _)| other - frame < FRAME_RATE as u64).count();
        assert!(within <= 2, "{within} sentences from frame {frame} on");
    }
    let calm = run([("per_second", 1.into())], 120 * 30, &long_bout(120), &[]);
    assert!(calm.windows(2).all(|pair| pair[1].0 - pair[0].0 >= FRAME_RATE as u64));
    assert_eq!(run([("per_second", 0.into())], 900, &long_bout(30), &[]), []);
}

#[test]
fn phrases_are_not_repeated_even_in_different_sentences() {
    // Two phrases and many strikes: with other moves the sentences differ, but the phrases repeat.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.yml");
    std::fs::write(&path, r#"{phrases: {strike: {low: ["{move} one", "{move} two"]}}}"#).unwrap();
    let moves: Vec<Move> = (0..20).map(|i| strike(Fighter::One, &format!("move_{i}"), 30 + 60 * i)).collect();
    let sentences = run([("vocabulary", path.to_str().unwrap().into())], 1300, &moves, &[]);
    assert_eq!(sentences.len(), 2, "both phrases were used: {sentences:?}");
}

#[test]
fn a_quiet_spell_is_reported_repeatedly() {
    let sentences = run([("quiet", 2.into())], 30 * 9, &[], &[pair(f32::NAN)]);
    let frames: Vec<u64> = sentences.iter().map(|(frame, _)| *frame).collect();
    // Two seconds are 60 frames and a few nanoseconds.
    assert_eq!(frames, [61, 122, 183, 244]);
    assert!(sentences.iter().all(|(_, row)| row.move_id.is_empty() && row.excitement == Excitement::Low));
}

#[test]
fn a_person_alone_has_no_opponent_in_any_sentence() {
    let moves: Vec<Move> = long_bout(60).into_iter().map(|row| Move { fighter: Fighter::None, ..row }).collect();
    let sentences = run([("quiet", 2.into())], 65 * 30, &moves, &[]);
    assert!(sentences.len() > 20);
    for (_, row) in &sentences {
        let words = row.text.to_lowercase();
        let of_two = ["red", "blue", "both", "they", "each other", "neither"];
        assert!(!words.split(|c: char| !c.is_alphabetic()).any(|word| of_two.contains(&word)), "{words}");
    }
    assert_eq!(run([("quiet", 2.into())], 600, &[], &[]), [], "no person has been seen yet");
}

#[test]
fn a_bout_gives_the_same_sentences_again_and_its_state_is_serializable() {
    let moves = long_bout(40);
    let whole = run([], 1200, &moves, &[]);
    assert_eq!(whole, run([], 1200, &moves, &[]));

    let mut h = Harness::<sideline_commentary::Commentary>::new([("quiet", 6)]).unwrap();
    for frame in 0..600 {
        let known: Vec<Move> = moves.iter().filter(|row| row.peak + 10 == frame).cloned().collect();
        h.push("moves", &known).unwrap();
        h.push::<Interaction>("interaction", &[]).unwrap();
    }
    let state = h.state("test").unwrap();
    let saved = serde_json::to_string(&state).unwrap();
    assert!(saved.len() < 100_000, "{} bytes", saved.len());
    let back: sideline_commentary::CommentaryState = serde_json::from_str(&saved).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), saved);
}

#[test]
fn moves_in_the_closing_message_are_reported() {
    let mut h = Harness::<sideline_commentary::Commentary>::new([("quiet", 0)]).unwrap();
    for _ in 0..30 {
        h.push::<Move>("moves", &[]).unwrap();
        h.push::<Interaction>("interaction", &[]).unwrap();
    }
    let rows = Move::encode(&[strike(Fighter::One, "hook", 25)]);
    h.push_closing("moves", Body::Data(Payload::Table(std::sync::Arc::new(rows)))).unwrap();
    h.push_at("moves", 30, Body::End { frames: 30 }).unwrap();
    h.push_at("interaction", 30, Body::End { frames: 30 }).unwrap();
    let mut sentences = vec![];
    while let Some(message) = h.next_message("commentary") {
        if let Body::Data(Payload::Table(rows)) = message.body {
            sentences.extend(Commentary::decode(&rows).unwrap());
        }
    }
    assert_eq!(sentences.len(), 1);
}

#[test]
fn a_label_without_words_is_used_as_its_own_name() {
    let sentences = run([], 60, &[strike(Fighter::None, "spinning_back_fist", 20)], &[]);
    assert!(sentences[0].1.text.contains("spinning back fist"), "{sentences:?}");
    assert!(sentences[0].1.text.to_lowercase().contains("the fighter"), "people without a name: {sentences:?}");
}

#[test]
fn every_mistake_in_a_vocabulary_is_reported_with_its_place_and_the_fix() {
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
    let errors: BTreeMap<&str, &str> =
        error.message.lines().map(|line| line.split_once(": error: ").unwrap()).collect();
    for (place, part) in [
        ("words.yml:2:3", "no fighter `fighter_3`"),
        ("words.yml:4:10", "did you mean `name`?"),
        ("words.yml:9:9", "did you mean `moves`?"),
        ("words.yml:10:9", "does not close it"),
        ("words.yml:11:9", "characters with the longest words, 200 are allowed: shorten it by"),
        ("words.yml:12:9", "put it in quotes"),
        ("words.yml:13:5", "with at least one"),
        ("words.yml:14:5", "no level `loud`"),
        ("words.yml:16:3", "did you mean `strike_landed`?"),
        ("words.yml:18:1", "did you mean `phrases`?"),
    ] {
        assert!(errors.get(place).is_some_and(|message| message.contains(part)), "{place} {part}: {errors:#?}");
    }
    assert_eq!(errors.len(), 10, "{errors:#?}");
}

#[test]
fn a_vocabulary_overrides_only_its_own_entries() {
    let vocabulary =
        Vocabulary::parse("names: {fighter_1: Ana}\nmoves: {jab: poke, lift: {kind: hold}}\n", "words.yml").unwrap();
    assert_eq!([vocabulary.fighter_name(Fighter::One), vocabulary.fighter_name(Fighter::Two)], ["Ana", "Blue"]);
    let words = |label: &str| vocabulary.move_words_or_label(label);
    assert_eq!([words("jab").with_article, words("hook").with_article], ["poke", "a hook"]);
    assert_eq!((words("lift").kind.as_str(), words("lift").name.as_str()), ("hold", "lift"));
    // Overrides that contradict the entries that stay.
    let message = |text: &str| Vocabulary::parse(text, "words.yml").unwrap_err().message;
    let error = message("moves:\n  tap: {kind: signal}\n");
    assert!(
        error.contains("words.yml:1:1: error: there are no phrases for moves of the kind `signal`: add `signal:`"),
        "{error}"
    );
    let error = message(&format!("names: {{fighter_1: {}}}\n", "Maximiliana ".repeat(15)));
    assert!(
        error.contains("with these words `") && error.contains("200 are allowed: shorten the longest names"),
        "{error}"
    );
}

#[test]
fn an_invalid_or_missing_vocabulary_fails_before_the_first_frame() {
    let error = Vocabulary::parse("phrases: {a: [\n", "words.yml").unwrap_err();
    assert!(error.message.starts_with("words.yml:") && error.failure.exit_code() == 1, "{error}");
    let error = Vocabulary::parse("words", "words.yml").unwrap_err();
    assert!(error.message.contains("words.yml:1:1: error: a vocabulary must be a map"), "{error}");
    let error = Harness::<sideline_commentary::Commentary>::new([("vocabulary", "nowhere.yml")]).err().unwrap();
    assert!(error.message.contains("key `vocabulary`") && error.failure.exit_code() == 1, "{error}");
}

#[test]
fn the_built_in_vocabulary_is_valid_and_all_keys_are_documented() {
    let vocabulary = Vocabulary::read(None).unwrap();
    assert_eq!(vocabulary.fighter_name(Fighter::One), "Red");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vocabulary.yml");
    Vocabulary::read(Some(&file)).unwrap();
    assert!(CommentaryConfig::keys().iter().all(|key| !key.about.is_empty()));
}
