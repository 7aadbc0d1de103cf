//! Writes the seeds that code makes to `seeds/<target>/made-NN`; seeds that were found stay.

use std::{fs, io, path::Path};

use carat_fuzz::{TARGETS, made_seed_name};

fn main() -> io::Result<()> {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let made =
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("made-"));
            if made {
                fs::remove_file(path)?;
            }
        }
        let seeds = (target.seeds)();
        for (index, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(made_seed_name(index)), seed)?;
        }
        let bytes: usize = seeds.iter().map(Vec::len).sum();
        println!("{}: {} seeds, {bytes} bytes", target.name, seeds.len());
    }
    Ok(())
}
