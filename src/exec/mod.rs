//! Carries out the effects of the scheduler on tokio: attempts, deadlines, retries. Holds no policy.
