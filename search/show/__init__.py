"""Everything that shows a study: status, figures, report, dashboard, leaderboard."""
