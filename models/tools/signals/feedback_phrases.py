"""What people say about the answer before, in patterns written for this project."""

SATISFIED = [
    "{Thanks|Thank you|Thx|Ty|Cheers|Many thanks|Thanks a lot|Thank you so much}{!|.|,} {that's|this is|it's} {exactly|just|precisely} what I {needed|wanted|was looking for}{.|!}",
    "{Perfect|Great|Excellent|Awesome|Wonderful|Brilliant|Fantastic|Amazing|Superb|Nice|Lovely}{!|.|, thanks!|, thank you.|, that works.|, that helps a lot.}",
    "{That|This|It} {works|worked|helped|helps|did the trick|solved it|fixed it|answers my question|makes sense now|is perfect|is very helpful|was really useful}{.|!|, thanks.|, thank you!}",
    "{Great|Good|Excellent|Nice|Helpful|Clear} {answer|explanation|job|work|response|summary}{.|!|, thanks.| I understand it now.| Well done.}",
    "{Got it|Understood|I see|Okay|Ok|Ah}{,|!} {that makes sense|that's clear now|now I understand|now I get it|all clear}{.|, thanks!|. Thank you.}",
    "{Your|The} {answer|explanation|solution|code|reply} {was|is} {very |really |super |}{helpful|clear|good|correct|spot on|right|useful}{.|!|, thank you.}",
    "{Yes|Yep|Yeah|Right}, {that's {right|correct|it}|exactly|perfect}{.|!|, thanks.}",
    "{I {really |}appreciate {it|your help|that|the help}|You've been very helpful|You're the best|You nailed it|I'm happy with that|I like this answer|I love it}{.|!}",
    "{No {more|further} questions|Nothing else|That's all {I needed|for now}|That will be all|I'm all set}{.|, thanks{.|!}|, thank you.}",
    "{That|This} is {good|great|correct|right|fine|what I meant|useful}, {thanks|thank you|cheers|well done}{.|!}",
    "{Problem|Issue|Question} {solved|resolved|answered}{.|!| Thanks!}",
    "{It|That|The fix|The code|Your suggestion} {works|worked|runs} {perfectly|now|great|like a charm|as expected}{.|!|, thank you so much.}",
    "{So|Very|Really} {helpful|clear|useful}{.|!} {Thanks|Thank you|I appreciate it}{.|!}",
    "{Thanks|Thank you|thx}{.|!|}",
    "{Spot on|Exactly right|Well explained|Nicely done|Good job|Well done|Bravo|Sweet|Cool}{.|!|, thanks!}",
]

SATISFIED += [
    "{Yes, exactly|Exactly|Precisely|Bingo}{.|!| That is it.| Great work.}",
    "{I'm|I am} {happy|satisfied|pleased|delighted|impressed} with {that|this|the result|your answer|the explanation}{.|!}",
    "{That|This} {clears it up|cleared things up|makes perfect sense|saved me a lot of time|was quick|is all I need}{.|!|, thanks.}",
    "{Fine|Good|Alright|All good|Works for me|Looks good{ to me|}|Sounds good}{.|, thanks{.|!}|!}",
    "{You|Your reply} {helped me a lot|solved my problem|answered everything|got it right|understood me perfectly}{.|!|, thank you.}",
    "{Much|Highly} appreciated{.|!|, that was helpful.}", "{5 stars|10/10|A+|Thumbs up|Love it|So good}{.|!| for this answer.}",
]

CLARIFY = [
    "{Can|Could} you {explain|clarify|rephrase|restate|elaborate on|go over|expand on} {that|this|it|your answer|the last part|the second step|the first point|what you said}{ again| more clearly| in simpler terms| in more detail| a bit more|}{?|, please?|}",
    "{I|Sorry, I|Hmm, I} {don't|do not|didn't|still don't|can't quite} {understand|get|follow} {that|it|this|your answer|your explanation|what you mean|the last part|step two}{.|. Can you explain it {again|differently|more simply}?|. Please {explain|clarify}.|, could you be clearer?}",
    "What {do you mean|did you mean|does that mean|does it mean exactly}{ by that| by this|}{ exactly|}{?|, please?}",
    "{I'm|I am} {confused|lost|not sure I understand|not following|unclear on this}{.|. {Can|Could} you {clarify|explain|simplify it|break it down}?|, please elaborate.}",
    "{Please |}{explain|clarify|rephrase|simplify|restate|elaborate on|break down} {that|this|it|your answer|the answer above|what you wrote|the last answer|your previous answer}{ {in simpler words|more simply|for a beginner|step by step|more clearly|in plain English|in plain language}|}{.|, please.|}",
    "{That|This|It}{'s| is| was} {not {very |quite |}clear|unclear|too {vague|complicated|technical|abstract|short}|hard to {follow|understand}|confusing}{.| to me.|. Can you simplify it?|. Could you give an example?}",
    "{Can|Could} you {give|show} {me |}{an|another|a concrete|a simple} example {of that|of what you mean|to make it clearer|}{?|, please?}",
    "{Explain|Say} {it|that} {like I'm five|as if I were a child|in simpler words|in fewer words|more simply|in another way so I can follow}{.|, please.|}",
    "{Huh|What|Sorry|Pardon|Come again}? {I don't get it.|I'm not following.|What does that mean?|Can you say that again?|Could you repeat that?|}",
    "{Which one|Who|What exactly|Where|Which part} do you mean{ here| there|}{?| by that?}",
    "{I need|Give me} {more {details|detail|context|explanation}|further clarification|a clearer explanation|some clarification} {on that|about this|on your last point|please|here}{.|}",
    "{How|Why} {so|is that|exactly}? {I don't follow.|Please elaborate.|Can you explain the reasoning?}",
    "{Can|Could} you {be more specific|go into more detail|spell it out|make that clearer|walk me through it again|slow down and explain}{?|, please?}",
    "{Restate|Summarize} {the|your} {last |previous |}answer {more clearly|in clearer words|so that I understand it|in plain terms}{.|, please.}",
    "{Could you define|What is meant by} {that term|this word|the term you used|those terms}{?| in your answer?}",
]

CLARIFY += [
    "{Your|The|That} {answer|explanation|reply|wording} {confuses me|leaves me confused|went over my head|is hard to understand|lost me|raises more questions}{.|, {please|can you} make it simpler{.|?}}",
    "{I don't know|I'm unsure|I can't tell} {what you mean|what that means|how you got there|how that follows|what the second part says}{.| Please explain.}",
    "{Make|Put} {it|that|this|your answer} {clearer|simpler|easier to understand|more concrete|into plain words}{.|, please.| for me.}",
    "{Why did you|How did you} {say that|get that|arrive at this|choose that|come to this conclusion}?{ Explain.|}",
    "{One more time|Again|Slower}{, please|}{.|:} {explain it in plain words|what does it mean|simpler}{.|}",
    "{Tell me more|More details|Expand|Elaborate|Go deeper} {about|on} {that|this point|what you just said|your last sentence}{.|, please.}",
    "{The|Your} {previous|last} {answer|response|message} {needs|requires} {clarification|a clearer explanation|more detail|simpler words}{.|}",
    "{I'm having trouble|It's hard for me} {understanding|following|to follow} {your answer|that explanation|this|the reasoning}{.|}",
    "{Simplify|Unpack|Decode} {that|this|your answer|the jargon}{.|, please.| for me.}",
]

WRONG = [
    "{That|This|It}{'s| is} {wrong|incorrect|not right|not correct|not true|false|a mistake|inaccurate|just wrong|completely wrong|nonsense}{.|!|, try again.|. Check it again.|. {Please |}{fix|correct} it.|, please {fix|correct|check} it.}",
    "{No|Nope|Wrong}{,|.|!} {that's|this is|that is} {wrong|incorrect|not right|not the right answer|not what the {source|data|book} says}{.|!|. {Please |}{Try|Check} again.}",
    "{Your|The} {answer|result|calculation|code|solution|claim|explanation|previous answer|last answer|reply} {is|was} {wrong|incorrect|mistaken|false|inaccurate|not correct}{.|!|. Please {correct|fix|revise} it.}",
    "You {made|have} {a mistake|an error|some mistakes}{.| in {your|the} {answer|calculation|code|second step|last line}.|. Please {correct|fix} it.}",
    "{You're|You are} {wrong|mistaken|incorrect|hallucinating|making things up|not right about {this|that}}{.|!|. Look again.}",
    "{I think|I believe|Actually,|Hmm,|Sorry, but} {you got it wrong|you made an error|that's {wrong|incorrect|not right}|your answer is {wrong|off}|that isn't {right|true|correct}}{.|. Can you check it?|, please double-check.}",
    "{That|It|This|The code|Your code|The solution|Your fix} {doesn't work|does not work|didn't work|still fails|gives an error|still throws the same error|doesn't compile|produces the wrong {output|result}}{.|!|, fix it.|. You got it wrong.}",
    "{The|That} {date|year|number|name|formula|total|result|fact|quote|second part} {is|was} {wrong|incorrect|not right|off}{.|. {Please |}{correct|fix|check} it.|, {it should be|the right one is} {different|something else|higher|1969|42}.}",
    "{Correct|Fix} {your|the} {mistake|error|errors|wrong answer|previous answer|last answer}{.|, please.| in the {last|previous} {reply|response}.}",
    "{Are you sure|Really}? {That {looks|seems|sounds|is} {wrong|incorrect|off}|I don't think that's {right|correct|true}}{.|}",
    "{Check|Recheck|Verify} {your|that} {answer|math|work|calculation} again{,|.} {it's|it is|that's} {wrong|not right|incorrect}{.|}",
    "{No|Nope}, {you {misread|got} {it|the question} {wrong|}|that contradicts {the source|what I said|the facts}|the correct answer is {different|B|42|something else}}{.|}",
    "{That|This} {answer |}{contains|has} {errors|a mistake|factual errors|wrong facts|a bug}{.|. Revise it.|, please correct.}",
    "{You|Your answer} {ignored|missed|misread|misunderstood} {the|my} {question|instructions|requirement|constraint}{, so it's wrong|, that's not correct|. Wrong answer}{.|}",
    "{Wrong|Incorrect|False|Not true|Bad answer|Not correct|Mistake}{.|!| again.|. Try again.}",
    "The {previous|last} {answer|response|reply} {was|is} {wrong|incorrect|inaccurate|not correct}{;|,|.} {please |}{correct|fix|redo|check} {it|the mistake|that}{.|}",
]

WRONG += [
    "{That|This|It|Your answer|The answer} {was|is} {incorrect|wrong|useless|not helpful|misleading|bad} and {did not|didn't} {solve|address|answer} {my|the} {request|question|problem|issue}{.|!}",
    "{You|That} {did not|didn't} {answer|address|solve} {my|the} {question|problem|request}{.|!| at all.| correctly.}",
    "{That's|This is} not {what I asked|what I said|what I meant|an answer to my question|how it works|how that works|the case}{.|!| Correct it.}",
    "{I tried|I ran|I tested} {that|it|your code|your suggestion} and it {fails|failed|doesn't work|crashes|gives the wrong result|is wrong}{.|, please fix it.}",
    "{I'm|I am} {not satisfied|unhappy|disappointed|frustrated} with {this|that|your} {answer|reply|wrong answer}{.|, it is wrong.|, it has mistakes.}",
    "{Bad|Poor|Terrible|Useless} {answer|response|reply}{.|!| It is wrong.| Full of errors.}",
    "{It|That} {should|must} {be|have been|say} {Canberra|42|the opposite|1989|the other way round}, not {Sydney|41|this|1988|that}{.|!}",
    "{You|The answer} {mixed up|confused|swapped} {the two|the dates|the names|cause and effect|both terms}{.|, correct it.}",
    "{You keep|You are still|Still} {giving the wrong answer|wrong|making the same mistake|incorrect|repeating the error}{.|!}",
    "{The|Your} {facts|numbers|sources|citations|steps} {are|were} {wrong|made up|incorrect|fabricated|off}{.|, check them.}",
]

DIFFERENT = [
    "{Can|Could} you {give|show|suggest|offer|try|propose} {me |}{another|a different|an alternative|some other} {answer|option|approach|version|solution|idea|way|one|suggestion|style}{?|, please?|}",
    "{Give|Show|Suggest|Write|Offer} {me |}{another|a different|an alternative|one more} {answer|option|approach|version|solution|idea|one|suggestion}{.|, please.|}",
    "{Try|Do|Write|Rewrite|Phrase} {it|that|this} {differently|another way|in a different {way|style|tone}|again with a different {approach|angle|tone}}{.|, please.|}",
    "{What|Are there|Any} {other|alternative|different} {options|alternatives|ideas|approaches|suggestions|ways}{ are there| do you have|}{?| to do it?}",
    "I {want|would like|'d like|need|prefer|'d prefer|was hoping for} {something|an answer that is|a version that is|an approach that is} {different|else|more creative|less formal|shorter|more casual|with another angle}{.|, please.|}",
    "{I don't like|I'm not a fan of|I'm not happy with|Not a fan of} {this|that} {one|version|suggestion|style|option|approach}{.|, {give|show} me {another|something else}.|. Try something else.}",
    "{Something|Anything} else{?|, please.| please?}",
    "{Is there|Isn't there|Do you have} {another|a different|a better|an alternative} {way|option|method|solution|idea|approach}{?| to do this?| you can suggest?}",
    "{Not what I had in mind|Not my style|I had something else in mind|That's not the style I wanted}{.|, try another one.|; give me something different.}",
    "{Make|Write} it {shorter|longer|more formal|less formal|funnier|more casual|in another format|as a table|as bullet points|in a different tone} {instead|this time}{.|, please.|}",
    "{Let's|I'd rather} {try|go with|see} {a different|another} {approach|option|direction|version|idea}{.|, please.}",
    "{Regenerate|Redo|Another one|Next option|Different answer|Again, but different|One more alternative}{.|, please.|!}",
    "{Use|Take} a {different|new} {approach|method|library|framework|angle|structure} {this time|instead}{.|, please.}",
    "{How about|What about} {another|a different} {approach|angle|version|solution|idea}{?}",
    "{I've|I have} {seen|tried} that {already|before}{,|.} {what else {is there|do you have}|give me something new|suggest another}{?|.}",
]

DIFFERENT += [
    "{I'd like|I want|Give me|Let me see} {other|more|different|alternative|further} {options|ideas|suggestions|choices|examples|versions}{.|, please.}",
    "{Not that one|Not this|Nah|Meh}{,|.} {something else|another one|a different one|try another}{.|, please.}",
    "{Take another|Have another|Give it another} {shot|go|try|approach}{.|, in a different style.|, but differently.}",
    "{Change|Vary|Switch} {the style|the tone|the approach|the format|it up|the angle}{.|, please.| completely.}",
    "{Could it be|Can it be|Can we make it} {different|another way|more original|in another style|less boring}?",
    "{I was looking for|I need|I expected} something {else|different|other than this|more like a story|less technical}{.|}",
    "{What else|Which others|Who else|What other ideas} {do you have|can you suggest|could work|are there}?",
    "{Propose|Offer|Try} {a second|a third|one more|yet another} {option|version|solution|draft}{.|, please.}",
]

FOREIGN = {
    "es": {
        "satisfied": ["{Gracias|Muchas gracias|Mil gracias}{!|.|, eso es {justo|exactamente} lo que necesitaba.}", "{Perfecto|Genial|Excelente|Estupendo}{, gracias.|!|, funciona.}", "{Eso|Esto} {funciona|me ayuda mucho|resuelve mi duda}{.|, gracias.}", "{Entendido|Ya entiendo|Muy claro}, {gracias|perfecto}."],
        "need_clarification": ["No {entiendo|comprendo|lo entiendo}{.|, ¿puedes {explicarlo|aclararlo} {mejor|otra vez|de forma más sencilla}?}", "¿{Puedes|Podrías} {aclarar|explicar|explicarme} {eso|la respuesta|lo anterior}{ con más detalle| de forma más clara| con un ejemplo|}?", "¿Qué quieres decir{ con eso|}?", "{Explícalo|Dilo} {más claro|con palabras más sencillas|paso a paso}, por favor."],
        "wrong_answer": ["{Eso|Esto} {está mal|es incorrecto|no es correcto|es falso|no es verdad}{.|, corrígelo.|, inténtalo de nuevo.}", "{Te equivocas|Te has equivocado|Estás equivocado}{.|, revísalo.}", "{Tu|La} respuesta {anterior |}{es incorrecta|está equivocada|no es correcta|contiene un error}{.|, corrígela por favor.}", "{No, eso no es así|No funciona, hay un error|Corrige tu error|El código no funciona}."],
        "want_different": ["{Dame|Muéstrame|Propón} {otra opción|otra respuesta|una alternativa|otra versión|algo distinto}{.|, por favor.}", "¿{Hay|Tienes} {otra opción|otra manera|alguna alternativa|otras ideas}?", "{Prefiero|Quiero} {algo diferente|otro enfoque|otro estilo}.", "No me gusta, {prueba otra cosa|dame otra}."]},
    "fr": {
        "satisfied": ["{Merci|Merci beaucoup|Un grand merci}{ !|.|, c'est {exactement|tout à fait} ce qu'il me fallait.}", "{Parfait|Super|Génial|Excellent}{, merci.| !|, ça marche.}", "{Ça|Cela} {marche|m'aide beaucoup|répond à ma question}{.|, merci.}", "{Compris|J'ai compris|Très clair}, {merci|parfait}."],
        "need_clarification": ["Je ne {comprends|saisis} pas{.|, peux-tu {expliquer|clarifier|reformuler} {autrement|plus simplement|encore une fois} ?}", "{Peux-tu|Pourriez-vous|Tu peux} {clarifier|expliquer|préciser} {cela|ta réponse|ce point}{ plus simplement| avec un exemple| plus en détail|} ?", "Qu'est-ce que {tu veux|vous voulez} dire{ par là|} ?", "{Explique|Reformule} {plus clairement|avec des mots plus simples|étape par étape}, s'il te plaît."],
        "wrong_answer": ["{C'est|Ceci est} {faux|incorrect|inexact|une erreur}{.|, corrige.|, réessaie.}", "{Tu te trompes|Vous vous trompez|Tu as fait une erreur}{.|, vérifie.}", "{Ta|La|Votre} réponse {précédente |}{est fausse|est incorrecte|n'est pas correcte|contient une erreur}{.|, corrige-la.}", "{Non, ce n'est pas ça|Ça ne marche pas, il y a une erreur|Corrige ton erreur|Le code ne fonctionne pas}."],
        "want_different": ["{Donne-moi|Propose|Montre-moi} {une autre option|une autre réponse|une alternative|une autre version|autre chose}{.|, s'il te plaît.}", "{Y a-t-il|As-tu} {une autre façon|d'autres idées|une alternative|d'autres options} ?", "{Je préfère|Je voudrais} {quelque chose de différent|une autre approche|un autre style}.", "Je n'aime pas, {essaie autre chose|donne-m'en une autre}."]},
    "de": {
        "satisfied": ["{Danke|Vielen Dank|Besten Dank|Danke schön}{!|.|, {genau|das ist genau} {das|was} {brauchte ich|ich gesucht habe}.}", "{Perfekt|Super|Toll|Ausgezeichnet|Prima}{, danke.|!|, das funktioniert.}", "{Das} {funktioniert|hilft mir sehr|beantwortet meine Frage|war hilfreich}{.|, danke.}", "{Verstanden|Alles klar|Jetzt verstehe ich es}, {danke|perfekt}."],
        "need_clarification": ["{Das|Ich} {verstehe ich nicht|verstehe das nicht|kann ich nicht nachvollziehen}{.|, kannst du das {genauer|einfacher|noch einmal} erklären?}", "{Kannst du|Könntest du|Können Sie} {das|die Antwort|den letzten Punkt} {bitte |}{genauer|einfacher|mit einem Beispiel|näher} {erklären|erläutern}?", "Was {meinst du|meinen Sie|heißt das}{ damit| genau|}?", "{Erkläre|Erklär} {es|das} bitte {klarer|in einfachen Worten|Schritt für Schritt}."],
        "wrong_answer": ["{Das|Dies} {ist falsch|stimmt nicht|ist nicht richtig|ist ein Fehler|ist nicht korrekt}{.|, korrigiere es.|, versuch es noch mal.}", "{Du irrst dich|Du liegst falsch|Du hast einen Fehler gemacht}{.|, prüf das.}", "{Deine|Die} {letzte |vorige |}Antwort {ist falsch|war falsch|stimmt nicht|enthält einen Fehler}{.|, bitte korrigieren.}", "{Nein, so ist das nicht|Das funktioniert nicht, da ist ein Fehler|Korrigiere deinen Fehler|Der Code läuft nicht}."],
        "want_different": ["{Gib mir|Zeig mir|Nenne} {eine andere Möglichkeit|eine andere Antwort|eine Alternative|eine andere Version|etwas anderes}{.|, bitte.}", "{Gibt es|Hast du} {eine andere Möglichkeit|andere Ideen|Alternativen|noch etwas anderes}?", "{Ich hätte lieber|Ich möchte} {etwas anderes|einen anderen Ansatz|einen anderen Stil}.", "Gefällt mir nicht, {versuch etwas anderes|gib mir eine andere}."]},
    "pt": {
        "satisfied": ["{Obrigado|Obrigada|Muito obrigado}{!|.|, era exatamente o que eu precisava.}", "{Perfeito|Ótimo|Excelente}{, obrigado.|!|, funcionou.}", "{Isso} {funciona|ajudou muito|responde à minha pergunta}{.|, obrigado.}"],
        "need_clarification": ["Não {entendi|compreendi}{.|, pode explicar {melhor|de novo|de forma mais simples}?}", "{Pode|Você pode|Poderia} {esclarecer|explicar} {isso|a resposta}{ com mais detalhes| com um exemplo|}?", "O que você quer dizer{ com isso|}?"],
        "wrong_answer": ["{Isso|Isto} {está errado|é incorreto|não está certo|é falso}{.|, corrija.|, tente de novo.}", "{Você errou|Você está enganado|Você cometeu um erro}{.|, verifique.}", "{A|Sua} resposta {anterior |}{está errada|está incorreta|contém um erro}{.|, corrija por favor.}"],
        "want_different": ["{Me dê|Mostre} {outra opção|outra resposta|uma alternativa|outra versão}{.|, por favor.}", "{Há|Tem|Existe} {outra maneira|outra opção|alguma alternativa}?", "{Prefiro|Quero} {algo diferente|outra abordagem|outro estilo}."]},
    "it": {
        "satisfied": ["{Grazie|Grazie mille}{!|.|, è proprio quello che cercavo.}", "{Perfetto|Ottimo|Fantastico}{, grazie.|!|, funziona.}"],
        "need_clarification": ["Non {capisco|ho capito}{.|, puoi spiegarlo {meglio|di nuovo|in modo più semplice}?}", "{Puoi|Potresti} {chiarire|spiegare} {questo|la risposta}{ con un esempio| più in dettaglio|}?", "Che cosa vuoi dire?"],
        "wrong_answer": ["{È|Questo è} {sbagliato|errato|falso|scorretto}{.|, correggi.|, riprova.}", "{Ti sbagli|Hai fatto un errore|Hai sbagliato}{.|, controlla.}", "La {tua |}risposta {precedente |}è {sbagliata|errata}{.|, correggila.}"],
        "want_different": ["{Dammi|Mostrami} {un'altra opzione|un'altra risposta|un'alternativa|qualcos'altro}{.|, per favore.}", "{C'è|Hai} {un altro modo|un'altra opzione|altre idee}?"]},
    "zh": {
        "satisfied": ["{谢谢|非常感谢|多谢}{！|。|，这正是我需要的。|，很有帮助。}", "{太好了|完美|很好|太棒了}{！|，谢谢。|，可以用了。}", "{明白了|懂了|清楚了}{，谢谢。|。}", "{回答得很好|解决了我的问题|这个答案很有用}。"],
        "need_clarification": ["{我|}{不明白|没看懂|不太理解|没听懂}{。|，能{再|更清楚地|简单地}解释一下吗？}", "{能|可以|请}{再|更详细地|用简单的话}{解释|说明}一下{你的回答|这一点|刚才的内容|}{吗？|。}", "{你是|这是|那是}什么意思{？|呢？}", "{请|能}{举个例子|讲得清楚一点|一步一步解释}{。|吗？}"],
        "wrong_answer": ["{这|你说的|这个答案|刚才的回答}{不对|是错的|错了|不正确|有错误}{。|，请{改正|纠正|重新检查}。}", "{你|}{搞错了|弄错了|算错了|回答错了}{。|，请{更正|再检查一下}。}", "{不对|错了|不是这样的}{。|，再试一次。|，请纠正。}", "{代码|结果|日期|数字}{不对|有错|是错的}{。|，请修正。}"],
        "want_different": ["{给我|换|请给}{另一个|一个不同的|别的}{答案|方案|版本|说法|选择}{。|吧。}", "{还有|有没有}{别的|其他|不同的}{方法|方案|选择|建议}{吗？|？}", "{我想要|我更喜欢}{不同的|另一种}{风格|方式|方案}。", "不{喜欢|满意}这个，{换一个|再来一个}{。|吧。}"]},
    "ja": {
        "satisfied": ["{ありがとう|ありがとうございます|助かりました}{！|。|、まさに知りたかったことです。}", "{完璧です|素晴らしい|よくわかりました|解決しました}{。|！|、ありがとう。}"],
        "need_clarification": ["{よくわかりません|理解できません|わかりにくいです}{。|、{もう一度|もっと簡単に|詳しく}説明してください。}", "{もう少し|もっと}{詳しく|わかりやすく|簡単に}{説明して|教えて}{ください。|もらえますか？}", "{それは|}どういう意味ですか？", "例を挙げて{ください。|もらえますか？}"],
        "wrong_answer": ["{それは|その答えは|さっきの回答は|}{間違っています|違います|正しくありません|誤りです}{。|、{直して|訂正して|確認して}ください。}", "{違う|間違い}です{。|、もう一度確認してください。}", "{計算|コード|日付|結果}が{間違っています|違います|おかしいです}{。|、修正してください。}"],
        "want_different": ["{別の|他の|違う}{答え|案|方法|バージョン}を{ください|お願いします|教えてください}。", "{他に|別の}{方法|案|選択肢}は{ありますか？|ないですか？}", "もっと違う{スタイル|言い方|アプローチ}にしてください。"]},
    "ko": {
        "satisfied": ["{감사합니다|고마워요|고맙습니다}{!|.|, 딱 필요한 거였어요.}", "{완벽해요|좋아요|훌륭해요|이해했어요}{.|!|, 감사합니다.}"],
        "need_clarification": ["{이해가 안 돼요|잘 모르겠어요|무슨 말인지 모르겠어요}{.|, {다시|더 쉽게|자세히} 설명해 주세요.}", "{좀 더|더} {자세히|쉽게|명확하게} 설명해 {주세요.|줄 수 있나요?}", "{그게|}무슨 {뜻이에요|의미인가요}?"],
        "wrong_answer": ["{그건|그 답은|이전 답변이|} {틀렸어요|잘못됐어요|맞지 않아요|사실이 아니에요}{.|, 다시 {확인해|고쳐} 주세요.}", "{틀렸습니다|아니에요, 틀렸어요|오류가 있어요}{.|. 수정해 주세요.}"],
        "want_different": ["{다른|또 다른} {답|방법|버전|아이디어}{을|를} {주세요|보여 주세요|알려 주세요}.", "{다른|대안적인} {방법|선택지}{은|이} {있나요|없나요}?"]},
    "ru": {
        "satisfied": ["{Спасибо|Большое спасибо|Благодарю}{!|.|, это именно то, что нужно.}", "{Отлично|Супер|Прекрасно|Идеально}{, спасибо.|!|, всё работает.}", "{Понятно|Теперь понял|Теперь ясно}, спасибо{.|!}"],
        "need_clarification": ["{Я |}не {понимаю|понял|поняла}{.|, {объясни|поясни} {ещё раз|проще|подробнее}.}", "{Можешь|Можете|Не могли бы вы} {пояснить|объяснить|уточнить} {это|ответ|последний пункт}{ проще| подробнее| на примере|}?", "Что {ты имеешь|вы имеете} в виду?", "{Объясни|Скажи} {понятнее|простыми словами|по шагам}, пожалуйста."],
        "wrong_answer": ["{Это|Твой ответ|Ваш ответ|Предыдущий ответ} {неправильно|неверно|неверный|ошибка|ошибочный|неправда}{.|, исправь.|, проверь ещё раз.}", "{Ты ошибся|Вы ошиблись|Ты ошибаешься|Ты не прав}{.|, проверь.|, исправь, пожалуйста.}", "{Нет, это не так|Не работает, тут ошибка|Исправь ошибку|Неверно, попробуй снова|Код не работает}."],
        "want_different": ["{Дай|Покажи|Предложи} {другой вариант|другой ответ|альтернативу|что-нибудь другое}{.|, пожалуйста.}", "{Есть|А есть} {другой способ|другие варианты|ещё идеи}?", "{Хочу|Предпочёл бы} {что-то другое|другой подход|другой стиль}.", "Мне не нравится, {давай другой|попробуй иначе}."]},
    "ar": {
        "satisfied": ["{شكرا|شكرا جزيلا|شكرا لك}{!|.|، هذا بالضبط ما أحتاجه.}", "{ممتاز|رائع|مثالي}{، شكرا.|!}", "{فهمت|واضح الآن}، شكرا."],
        "need_clarification": ["{لم أفهم|لا أفهم|غير واضح}{.|، هل يمكنك {الشرح|التوضيح} {مرة أخرى|بشكل أبسط|أكثر}؟}", "{هل يمكنك|ممكن} {توضيح|شرح} {ذلك|إجابتك}{ بمثال| بالتفصيل|}؟", "ماذا تقصد{ بذلك|}؟"],
        "wrong_answer": ["{هذا|جوابك|إجابتك|الجواب السابق} {خطأ|غير صحيح|غير صحيحة|ليس صحيحا}{.|، صححه.|، تحقق مرة أخرى.}", "{أنت مخطئ|لقد أخطأت|هناك خطأ}{.|، أعد المحاولة.}"],
        "want_different": ["{أعطني|اقترح|أريد} {خيارا آخر|إجابة أخرى|بديلا|شيئا مختلفا|نسخة أخرى}{.|، من فضلك.}", "هل {هناك|لديك} {طريقة أخرى|خيارات أخرى|بديل}؟"]},
    "hi": {
        "satisfied": ["{धन्यवाद|शुक्रिया|बहुत धन्यवाद}{!|।|, मुझे यही चाहिए था।}", "{बहुत बढ़िया|शानदार|समझ गया}{, धन्यवाद।|!}"],
        "need_clarification": ["{मुझे समझ नहीं आया|मैं नहीं समझा}{।|, कृपया {फिर से|सरल शब्दों में|विस्तार से} समझाइए।}", "{इसका|आपका} क्या मतलब है?"],
        "wrong_answer": ["{यह|आपका जवाब|पिछला उत्तर} {गलत है|सही नहीं है}{।|, कृपया ठीक करें।}", "{आपने गलती की|आप गलत हैं}{।|, फिर से जांचें।}"],
        "want_different": ["{कोई दूसरा|कुछ अलग} {जवाब|विकल्प|तरीका} {दीजिए|बताइए}।", "क्या कोई और {तरीका|विकल्प} है?"]},
    "tr": {
        "satisfied": ["{Teşekkürler|Teşekkür ederim|Çok sağ ol}{!|.|, tam aradığım şey.}", "{Harika|Mükemmel|Süper}{, teşekkürler.|!}"],
        "need_clarification": ["{Anlamadım|Anlayamadım}{.|, {tekrar|daha basit|daha ayrıntılı} açıklar mısın?}", "Ne demek istiyorsun?"],
        "wrong_answer": ["{Bu|Cevabın|Önceki cevap} {yanlış|doğru değil|hatalı}{.|, düzelt.|, tekrar dene.}", "{Yanılıyorsun|Hata yaptın}{.|, kontrol et.}"],
        "want_different": ["{Başka|Farklı} bir {cevap|seçenek|yol|versiyon} {ver|göster|öner}.", "Başka {bir yol|seçenek} var mı?"]},
    "vi": {
        "satisfied": ["{Cảm ơn|Cảm ơn nhiều}{!|.|, đúng là thứ tôi cần.}", "{Tuyệt vời|Hoàn hảo|Tốt lắm}{, cảm ơn.|!}"],
        "need_clarification": ["{Tôi không hiểu|Chưa rõ}{.|, bạn {giải thích|nói} {lại|rõ hơn|đơn giản hơn} được không?}", "Ý bạn là gì?"],
        "wrong_answer": ["{Điều đó|Câu trả lời|Câu trả lời trước} {sai|không đúng|bị sai}{ rồi.|.|, hãy sửa lại.}", "{Bạn sai rồi|Bạn nhầm rồi}{.|, kiểm tra lại đi.}"],
        "want_different": ["{Cho tôi|Đưa ra} {câu trả lời khác|phương án khác|cách khác}{.|, làm ơn.}", "Có {cách|lựa chọn} nào khác không?"]},
}

ENGLISH = {"satisfied": SATISFIED, "need_clarification": CLARIFY, "wrong_answer": WRONG, "want_different": DIFFERENT}

# Turns that follow an answer and say nothing of it.
NONE = [
    "{And|What about|How about} {in winter|the second one|Germany|its population|for beginners|last year|the price}?",
    "{Now|Next,|Then} {write|translate|summarize|list|compute|add|show} {a test for it|it to French|the main points|ten examples|the sum|the next step|the code for the server}{.|, please.|}",
    "{Who|When|Where|Why|How} {wrote that book|was it built|is it used|does it happen|do I install it|is he from}?",
    "{Yes|No|Sure|Okay|Ok}, {please continue|go on|go ahead|let's start|do it}{.|}",
    "{Continue|Go on|Next|Proceed|Keep going}{.|}",
    "{Translate|Convert} {that|it|this} {to|into} {German|Spanish|JSON|a table|Python}{.|}",
    "{Save|Send|Print|Book|Order|Commit} {it|that|this}{.|, please.|}",
    "{My|The} {budget|deadline|favourite color|team} is {small|on Friday|blue|new to this}{.|}",
    "{What is wrong with|Why is there an error in|Find the mistake in|Correct the grammar of} {my code|this sentence|the following text|my essay}{?|.|: }",
    "{Explain|What is|Describe|Tell me about} {quantum entanglement|the French Revolution|photosynthesis|inflation|a binary tree}{.|?|}",
    "{Suggest|Recommend} {a book|a good restaurant|a movie|a name for my cat}{.|, please.|}",
    "{How is another language different|What is a different word for happy|Compare different databases|What are alternatives to plastic}?",
    "{Thank you notes: write one|Write a thank-you letter} {to my teacher|for the wedding gift}{.|}",
]
