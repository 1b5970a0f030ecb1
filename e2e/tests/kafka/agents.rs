//! An agent that is killed again and again.

use anyhow::{Result, ensure};
use sluice_e2e::{AgentFolder, Sluice};

/// An agent that comes back whenever it is killed.
pub(crate) struct Agent {
    folder: AgentFolder,
    pub(crate) running: Sluice,
}

impl Agent {
    /// Starts it.
    pub(crate) fn start(folder: AgentFolder) -> Result<Self> {
        let running = Sluice::agent(&folder, &[])?;
        Ok(Self { folder, running })
    }

    /// Kills it, and starts it again.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        ensure!(
            self.running.is_running()?,
            "sluice ended by itself: {}",
            self.running.stderr()
        );
        self.running.kill_nine().await?;
        self.running = Sluice::agent(&self.folder, &[])?;
        Ok(())
    }
}
