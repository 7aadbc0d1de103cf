//! Arguments of the commands about models on the Hub.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Name (12b, 12b-q8, 26b, 31b, e4b, e2b, each with -draft), OWNER/REPO or OWNER/REPO:FILE
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// Fetch the model's drafter as well
    #[arg(long)]
    pub(crate) draft: bool,
    /// Branch, tag or commit of the repository
    #[arg(long, value_name = "REV", default_value = "main")]
    pub(crate) revision: String,
    /// Fetch what is there already anew
    #[arg(long)]
    pub(crate) force: bool,
    /// Address of the Hub or of a mirror [default: HF_ENDPOINT, or https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// How often a request that failed is sent again
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) retries: u32,
    /// Say nothing but errors and the path of the model
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print what was fetched as JSON, instead of the path of the model
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Name (12b, 12b-draft), OWNER/REPO for all of it, or OWNER/REPO:FILE
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}
