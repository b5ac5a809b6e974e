"""Words of other libraries that are read where they give neither a type nor a value to tell their messages apart.

A test raises each of them in its library, so that a release which words it otherwise is noticed. Where nothing is found
of these words, a message is shown as it is.
"""

import re

# jsonargparse (4.53), of a value that suits none of the types that it may have: lines that are no reasons.
PARSER_DETAILS = (
    "Does not validate against any",
    "Subtypes:",
    "Errors:",
    "Given value",
    "Expected a <class 'NoneType'>",
)
# jsonargparse, of one value that an argument cannot have: which argument, and the value.
WRONG_VALUE = re.compile(r'Parser key "(?P<key>[^"]+)":.*(?:Given|Got) value: (?P<value>.*)', re.DOTALL)
# Python, through jsonargparse, of a class that does not have an argument: the value was meant for another class.
OTHER_TYPE = "got an unexpected keyword argument"

# Lightning (2.6), of services of its makers, in the log of every run.
ADVERT = "For seamless cloud"

# pydantic (2.14): what comes before and after the rule in a message such as "Input should be less than 1".
RULE_BEGINS = " should "
RULE_ENDS = " after validation"
# pydantic, before the message of an error that a validator of ours has raised.
OWN_MESSAGE = "Value error, "
