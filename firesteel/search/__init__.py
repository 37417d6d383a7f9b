"""Similar pictures: an index of feature vectors, and exact search in it.

An index is a prepared dataset whose rows are vectors of length 1 (:mod:`firesteel.search.index`); similarity is the cosine.
"""
