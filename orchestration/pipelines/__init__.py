"""Which stages a job consists of: pure functions from a request to a plan whose keys are known beforehand."""
