//! Fuzzing of the vocabulary reader.

use sideline_commentary::vocabulary::Vocabulary;
use sideline_testkit::fuzz;

const OWN: &str = "names: { fighter_1: Ana }\nsomeone: a person\nmoves:\n  jab: { name: jab, one: a jab }\n  idle: ''\n\
    limbs: { left_hand: the left hand }\nphrases:\n  strike:\n    calm: ['{who} with {a_move}.']\n";

#[test]
fn fuzz_vocabulary() {
    let built_in = include_str!("../vocabulary.yml");
    let words = ["names:", "moves:", "phrases:", "{who}", "{whom}", "{", "}", "calm: ", "- ", "&a ", "*a", "<<: *a"];
    fuzz::text("vocabulary", &[OWN, built_in], &words, |text| match Vocabulary::parse(text, "my_words.yml") {
        Ok(vocabulary) => drop((
            vocabulary.fighter_name(sideline_sport::tables::Fighter::One),
            vocabulary.move_words_or_label("jab"),
            vocabulary.limb_name("left_hand"),
        )),
        Err(error) => assert!(error.message.contains("my_words.yml"), "the file is not named: {error}"),
    });
}
