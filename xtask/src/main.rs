//! . 
fn main(){}
