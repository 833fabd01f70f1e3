"""What people see: a study at a moment as facts; figures, texts and pages as functions of them."""
