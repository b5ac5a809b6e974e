"""Words of other libraries' messages, read where neither a type nor a value tells their messages apart.

For each of them a test makes its library print the message, so that a release with other words is noticed. A message
without these words is shown as it is.
"""

import re

OF_NONE = "Expected a <class 'NoneType'>"  # jsonargparse (4.53), for an option that may also be left out
# jsonargparse, for a value that suits none of the types an argument may have: lines that are not reasons.
PARSER_DETAILS = ("Does not validate against any", "Subtypes:", "Errors:", "Given value", OF_NONE)
# jsonargparse, for a single value that an argument cannot have: the argument and the value.
WRONG_VALUE = re.compile(r'Parser key "(?P<key>[^"]+)":.*(?:Given|Got) value: (?P<value>.*)', re.DOTALL)
# jsonargparse, for a key of a configuration that no option has, of a command or of a trainer's subcommand.
UNKNOWN_KEY = re.compile(r"(?:Subcommand '\w+' does not accept option|Option) '(?P<key>[\w.]+)'(?: is not accepted)?$")
# argparse and jsonargparse, before the names of arguments that are missing, with commas between them.
MISSING = "the following arguments are required: "
# jsonargparse, for an option that a class does not have, on the command line or in a file; classes may be nested.
UNKNOWN_IN_CLASS = re.compile(
    r"Problem with given class_path '(?P<kind>[\w.]+)':\s+"
    r"(?:unrecognized arguments: --(?P<named>[\w.]+)|Option '(?P<named_at>[\w.]+)' is not accepted)"
)
# Python, through jsonargparse, for a class without this argument: the value was meant for another class.
OTHER_TYPE = "got an unexpected keyword argument"

# Lightning (2.6), for services of its makers, in the log of every run.
ADVERT = "For seamless cloud"
# torch (2.14), in every run of Lightning (2.6), whose own code it is about.
OWN_CODE = "`isinstance(treespec, LeafSpec)` is deprecated"
# Lightning, for checkpoints of modules that step their optimizers themselves: they are as after the step, as is meant.
AFTER_STEP = "Using ModelCheckpoint with manual optimization and every_n_train_steps"

# pydantic (2.14): the words before and after the rule in a message such as "Input should be less than 1".
RULE_BEGINS = " should "
RULE_ENDS = " after validation"
# pydantic, before the message of an error that one of our validators raised.
OWN_MESSAGE = "Value error, "
