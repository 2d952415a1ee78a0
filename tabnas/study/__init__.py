"""Studies: many searches and stand-alone trainings on one table, and what they say together. `experiment=study/…`."""
