"""Is it all here, and by what evidence?

policy     what is known of a series or study -> a verdict, in words
watch      asks the policy for everything that is still open, and writes what it says
"""
