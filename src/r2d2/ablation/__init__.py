"""The paper's ablation as one command: many short runs, their figures and their differences."""
