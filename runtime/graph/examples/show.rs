#[path = "../tests/stubs/mod.rs"]
mod stubs;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    match sideline_graph::Flow::read(path.as_ref(), &stubs::registry(), &Default::default()) {
        Ok(flow) => print!("{}", sideline_graph::render_plan(&flow)),
        Err(found) => found.iter().for_each(|d| println!("{d}")),
    }
}
