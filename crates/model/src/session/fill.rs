//! Depth without a prompt, for measurements.

use super::Session;
use crate::TokenId;
use crate::error::Result;

impl Session {
    /// Appends tokens as if they had been evaluated, and gives them arbitrary keys and values
    /// instead. For measurements alone: what follows costs as much time and memory as it does after
    /// so long a prompt, and says nothing. A prompt of 16384 tokens takes a 12B model minutes,
    /// this takes a second.
    ///
    /// # Errors
    /// If the context cannot hold the tokens, or one does not exist; then nothing is appended.
    #[doc(hidden)]
    pub fn fill(&mut self, ids: &[TokenId]) -> Result<()> {
        self.settle_if_any()?;
        self.extend(None, ids, &[])?;
        let model = self.model.clone();
        let layers = &model.weights().layers;
        let key_norms: Vec<&[f32]> = layers.iter().map(|layer| &layer.k_norm[..]).collect();
        self.kv.fill(self.tokens.len(), &key_norms);
        Ok(())
    }

    /// Evaluates what is not in the cache yet.
    fn settle_if_any(&mut self) -> Result<()> {
        if !self.tokens.is_empty() {
            self.settle()?;
        }
        Ok(())
    }
}
