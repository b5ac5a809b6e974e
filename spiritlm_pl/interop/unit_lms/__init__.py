"""Language models of units alone that others have trained, such as TWIST's and slamkit's."""
