//! Prints the document as the local pipeline renders it: `cargo run -p schema --example render -- name=value …`.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let values: Vec<(&str, &str)> =
        arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
    match schema::document::render(schema::document::TEXT, &values) {
        Ok(document) => print!("{document}"),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}
