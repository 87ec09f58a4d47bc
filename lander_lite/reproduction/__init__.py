"""The study: methods, runs, results, statistics, analyses, claims and their scorecard."""
