//! Why a picture does not fit the model.

/// What can go wrong between a picture and what the model sees of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the message says they are")]
pub enum VisionError {
    /// A picture with a side that the model has no positions for.
    #[error(
        "the picture has {columns} x {rows} patches, the model has positions for {positions} in \
         each direction: choose a smaller budget or a less extreme shape"
    )]
    Positions { columns: usize, rows: usize, positions: usize },

    /// A budget that the model was not trained on.
    #[error("an image budget of {found} tokens does not exist, choose 70, 140, 280, 560 or 1120")]
    Budget { found: usize },
}
