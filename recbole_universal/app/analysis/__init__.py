"""Do universal statistics hold on a dataset, and what does the model make of them? See docs/analysis.md."""
