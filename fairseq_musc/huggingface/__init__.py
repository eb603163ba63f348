"""What goes to the Hugging Face ecosystem: a trained classifier as a folder that transformers loads by itself."""
