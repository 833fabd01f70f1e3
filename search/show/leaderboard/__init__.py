"""The leaderboard: models of several studies, ranked where their BPB can be compared."""
