"""The clustering stage: SSDDBC on a feature cache, and comparison and use of clusterings."""
