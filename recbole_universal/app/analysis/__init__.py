"""Do universal statistics hold on a data set, and what does the model make of them? See docs/analysis.md."""
