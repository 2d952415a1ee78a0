"""Sources → a Table in memory → the one LightningDataModule. Imports none of the search."""
